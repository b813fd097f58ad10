// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
)

// FuzzToken shows any token to members that give simple and signed ones. Nobody becomes anybody but whom the tokens were
// given to that the fuzzer starts from.
func FuzzToken(f *testing.F) {
	key := filepath.Join(f.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a secret of some length, so that chance does not find it"), 0o600); err != nil {
		f.Fatal(err)
	}
	members := []*member{newMember(f), newMember(f)}
	signing, err := New(Options{Token: "jwt,sign-method=HS256,priv-key=" + key})
	members[0].must(err)
	members[1].close()
	members[1].Authority = signing
	members[1].reopen()
	for _, m := range members {
		m.populate()
		f.Add("token", m.token("reader"))
		f.Add("authorization", "Bearer "+m.token("reader"))
	}
	f.Add("token", fmt.Sprintf("abcdefghijklmnop.%d", uint64(1<<63)))
	f.Add("authorization", "Basic eDp5")
	f.Add("token", "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MX0.")
	f.Fuzz(func(t *testing.T, name, token string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // one of the future is waited for
		defer cancel()
		for _, m := range members {
			info, err := m.Info(metadata.NewIncomingContext(ctx, metadata.Pairs(name, token)))
			if err == nil && info != nil && (info.Username != "reader" || info.Revision > m.Users().Revision()) {
				t.Errorf("%q is the token of %+v", token, info)
			}
		}
	})
}
