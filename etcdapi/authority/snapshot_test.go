// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
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

// What is sent while it is read stops at the part before which users changed.
func TestPartsEndWithAChange(t *testing.T) {
	m := newMember(t)
	m.populate()
	may := func(info *auth.AuthInfo) error { return m.Users().IsRangePermitted(info, []byte("r"), nil) }
	for name, change := range map[string]func(){
		"a role":     func() { m.apply(addRole("more")) },
		"a snapshot": m.restore,
	} {
		sent := 0
		err := m.ReadInParts(with("token", m.token("reader")), may, func(unchanged func() error) error {
			for range 3 {
				if err := unchanged(); err != nil {
					return err
				}
				if sent++; sent == 2 {
					change()
				}
			}
			return nil
		})
		if sent != 2 || !errors.Is(err, auth.ErrAuthOldRevision) {
			t.Errorf("%s: %d parts, then %v", name, sent, err)
		}
	}
}

// Requests go on while snapshots replace the users. The race detector sees to what they read.
func TestRequestsDuringSnapshots(t *testing.T) {
	m := newMember(t)
	m.populate()
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for ctx.Err() == nil {
				root := AsRoot(ctx)
				_ = m.RequireAdmin(root)
				_ = m.ReadLeases(root, 1)
				_ = m.ReadKeys(root, [][]byte{[]byte("r")})
				_ = m.Read(root, func(info *auth.AuthInfo) error {
					return m.Users().IsRangePermitted(info, []byte("r"), nil)
				}, func() error { return nil })
			}
		})
	}
	for range 20 {
		m.restore()
	}
	cancel()
	asking.Wait()
}

// restore replaces the store by a snapshot of itself.
func (m *member) restore() {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "snapshot.db")
	m.snapshot(file)
	m.must(m.store.Restore(context.Background(), file))
}
