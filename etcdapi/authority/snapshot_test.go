// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Tokens end when a user's password was changed, or the user deleted and another made of that name, by entries that a
// member did not see because a snapshot stands for them.
func TestTokensEndWithASnapshot(t *testing.T) {
	for name, change := range map[string]func(*member){
		"another password": func(m *member) {
			m.apply(&pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: "reader", HashedPassword: hashed(t, "new")}})
		},
		"another user": func(m *member) {
			m.apply(&pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "reader"}})
			m.apply(addUser(t, "reader", "both")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			leader, lagging := newMember(t), newMember(t)
			var token string
			for _, m := range []*member{leader, lagging} {
				m.populate()
				resp, err := m.applyAs("", &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "reader", SimpleToken: "known"}})
				m.must(err)
				token = resp.(*pb.AuthenticateResponse).Token
			}
			change(leader)
			file := filepath.Join(t.TempDir(), "snapshot.db")
			leader.snapshot(file)
			lagging.must(lagging.store.Restore(context.Background(), file))
			lagging.index = leader.index
			if info, err := lagging.Info(with("token", token)); err == nil {
				t.Errorf("the token is %+v's", info)
			}
			fresh := lagging.token("both")
			if _, err := lagging.Info(with("token", fresh)); err != nil {
				t.Errorf("a token from after the snapshot: %v", err)
			}
		})
	}
}

// A member that gives signed tokens proposes requests without a secret part: no simple token comes of them, which
// anybody could guess.
func TestNoTokenWithoutASecret(t *testing.T) {
	m := newMember(t)
	m.populate()
	if resp, err := m.applyAs("", &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "root"}}); err == nil {
		t.Errorf("answered with %v", resp)
	}
	if info, err := m.Info(with("token", fmt.Sprintf(".%d", m.index-1))); err == nil {
		t.Errorf("a guessed token is %+v's", info)
	}
}
