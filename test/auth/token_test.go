// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/test/harness"
)

// with calls with metadata of its own.
func with(c call, pairs ...string) call {
	return call{c.name + " with " + pairs[0], func(ctx context.Context, s *side) (proto.Message, error) {
		return c.do(metadata.AppendToOutgoingContext(ctx, pairs...), s)
	}}
}

// TestTokensAsEtcd brings tokens of all sorts, in all places.
func TestTokensAsEtcd(t *testing.T) {
	keelson, etcd := both(t)
	onBoth(keelson, etcd, func(s *side) {
		s.populate()
		s.login("u")
		token := s.tokens["u"]
		for _, c := range []call{get("k", ""), put("k", "v")} {
			for _, pairs := range [][]string{
				{"token", token}, {"token", "Bearer " + token}, {"authorization", token}, {"authorization", "Bearer " + token},
				{"authorization", "Basic " + token}, {"token", ""}, {"token", "x.y"}, {"token", "x.1.2"}, {"token", "aaaaaaaaaaaaaaaa.1"},
				{"token", "nonsense", "authorization", token},
			} {
				s.note(nobody, with(c, pairs...))
			}
			// The entry of this one does not exist yet: the answer takes as long as the client has time.
			ctx, cancel := context.WithTimeout(s.as(nobody), 300*time.Millisecond)
			if _, err := with(c, "token", token+"0").do(ctx, s); err == nil {
				t.Errorf("%s: a token of the future: %v", s.server.Kind(), err)
			}
			cancel()
		}
		s.note(nobody, call{"login with an old token", func(ctx context.Context, s *side) (proto.Message, error) {
			ctx = metadata.AppendToOutgoingContext(ctx, "token", "nonsense")
			return errOnly(s.auth().Authenticate(ctx, &pb.AuthenticateRequest{Name: "u", Password: "u"}))
		}})
	})
	wantSame(t, keelson, etcd)
}

// TestTokensExpire leaves a simple token unused for longer than it lives.
func TestTokensExpire(t *testing.T) {
	keelson, etcd := both(t, "--auth-token-ttl=1")
	onBoth(keelson, etcd, func(s *side) { s.populate(); s.login("u"); s.note("u", get("k", "")) })
	<-time.After(4 * time.Second) // the time in which nobody uses it is what is tested
	onBoth(keelson, etcd, func(s *side) {
		s.note("u", get("k", ""))
		s.note("u", put("k", ""))
	})
	wantSame(t, keelson, etcd)
	if got := etcd.outcomes[1].Err; !strings.Contains(got, "invalid auth token") {
		t.Errorf("an expired token: %s", got)
	}
}

// TestJWTAsEtcd gives both servers the same key: each takes the other's tokens, until they expire or users change.
func TestJWTAsEtcd(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a secret of both"), 0o600); err != nil {
		t.Fatal(err)
	}
	keelson, etcd := both(t, "--auth-token=jwt,sign-method=HS256,priv-key="+key+",ttl=20s")
	onBoth(keelson, etcd, func(s *side) { s.populate(); s.login("u") })
	keelson.tokens["u"], etcd.tokens["u"] = etcd.tokens["u"], keelson.tokens["u"]
	onBoth(keelson, etcd, func(s *side) {
		s.note("u", get("k", ""))
		s.note("u", put("k", "v"))
		s.note("u", get("secret", ""))
		s.login("root")
		s.must("root", addRole("more"))
		s.note("u", get("k", ""))
		s.note("u", put("k", "v"))
		s.note("root", addRole("again")) // admins are not asked for a revision
		s.tokens["u"] = s.tokens["u"][:len(s.tokens["u"])-2]
		s.note("u", get("k", ""))
	})
	wantSame(t, keelson, etcd)
	if got := etcd.outcomes[3].Err; !strings.Contains(got, "revision of auth store is old") {
		t.Errorf("a token of before: %s", got)
	}
}

// TestClientLogsInAgain has etcd's own client find out that its token is gone: by a restart, which forgets simple tokens.
func TestClientLogsInAgain(t *testing.T) {
	server := harness.Start(t, harness.Keelson, harness.Options{Args: []string{"--bcrypt-cost=4"}})
	newSide(t, server).populate()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.Endpoint()}, DialTimeout: callTimeout, Logger: zap.NewNop(), Username: "u", Password: "u",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	for range 2 {
		if _, err := client.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Get(ctx, "secret"); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Fatalf("a key that is not permitted: %v", err)
		}
		server.Kill()
		server.Restart()
	}
	if _, err := client.Get(ctx, "k"); err != nil {
		t.Fatal(err)
	}
}

// TestFlagsOfTokens wants bad ones refused, with nothing written.
func TestFlagsOfTokens(t *testing.T) {
	for _, token := range []string{"other", "jwt", "jwt,sign-method=HS256", "simple,x", "jwt,sign-method=RS256,priv-key=/nowhere"} {
		server := harness.New(t, harness.Keelson, harness.Options{Args: []string{"--auth-token=" + token}})
		server.Run()
		<-server.Exited()
		server.Expect(1)
		if log := server.Log(); !strings.Contains(log, "--auth-token="+token) {
			t.Errorf("%s: %s", token, log)
		}
		if _, err := os.Stat(server.DataDir()); !os.IsNotExist(err) {
			t.Errorf("%s: the data directory is there: %v", token, err)
		}
	}
}
