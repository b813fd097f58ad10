// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// member is a store with an authority and a log of its own: it numbers the entries.
type member struct {
	*Authority
	t     testing.TB
	path  string
	store *sqlstore.Store
	index uint64
}

func newMember(t testing.TB) *member {
	m := &member{t: t, path: filepath.Join(t.TempDir(), "keelson.db")}
	m.open()
	t.Cleanup(m.close)
	return m
}

func (m *member) open() {
	m.t.Helper()
	var err error
	m.Authority, err = New(Options{Token: SimpleToken, BcryptCost: bcrypt.MinCost})
	m.must(err)
	m.reopen()
}

// reopen opens the store with the authority that there is.
func (m *member) reopen() {
	m.t.Helper()
	var err error
	m.store, err = sqlstore.Open(context.Background(), sqlstore.Options{
		DB: sqldb.Options{Path: m.path, Clock: wallClock{}}, Authority: m.Authority,
	})
	m.must(err)
	m.index, _ = m.store.Applied()
}

func (m *member) close() {
	m.Close()
	m.must(m.store.Close(context.Background()))
}

func (m *member) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// applyAs applies a request of a user who knows of all that was applied before.
func (m *member) applyAs(user string, r *pb.InternalRaftRequest) (any, error) {
	return m.applyAt(user, m.Users().Revision(), r)
}

// applyAt applies a request that was checked at a revision.
func (m *member) applyAt(user string, revision uint64, r *pb.InternalRaftRequest) (any, error) {
	m.t.Helper()
	m.index++
	r.Header = &pb.RequestHeader{ID: m.index, Username: user}
	if user != "" {
		r.Header.AuthRevision = revision
	}
	data, err := proto.Marshal(r)
	m.must(err)
	out, err := m.store.Apply([]sqlstore.Entry{{Index: m.index, Term: 1, Data: data}})
	m.must(err)
	return out[0].Response, out[0].Err
}

// apply applies requests of root.
func (m *member) apply(requests ...*pb.InternalRaftRequest) {
	m.t.Helper()
	for _, r := range requests {
		if _, err := m.applyAs(rootUser, r); err != nil {
			m.t.Fatalf("%v: %v", r, err)
		}
	}
}

func hashed(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(h)
}

func addUser(t testing.TB, name string, roles ...string) []*pb.InternalRaftRequest {
	out := []*pb.InternalRaftRequest{{AuthUserAdd: &pb.AuthUserAddRequest{Name: name, HashedPassword: hashed(t, name+"'s")}}}
	for _, role := range roles {
		out = append(out, &pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: name, Role: role}})
	}
	return out
}

func addRole(name string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: name}}
}

func grant(role string, kind authpb.Permission_Type, key, end string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{
		Name: role, Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

// populate makes users: root; reader, who may read r and r/*; writer, who may write w
// and w/* and read none of it; both, who may read and write b and w; anyone, who may
// read everything from m on. Then they must authenticate.
func (m *member) populate() {
	m.t.Helper()
	const read, write, both = authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE
	m.apply(addUser(m.t, "root", "root")...)
	m.apply(addRole("reader"), grant("reader", read, "r", ""), grant("reader", read, "r/", "r0"),
		addRole("writer"), grant("writer", write, "w", ""), grant("writer", write, "w/", "w0"),
		addRole("both"), grant("both", both, "b", ""), grant("both", both, "w", ""),
		addRole("anyone"), grant("anyone", read, "m", "\x00"), addRole("nothing"))
	for _, name := range []string{"reader", "writer", "both", "anyone", "nothing"} {
		m.apply(addUser(m.t, name, name)...)
	}
	m.apply(&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}})
}

// snapshot writes the store's file.
func (m *member) snapshot(file string) {
	m.t.Helper()
	s, err := m.store.OpenSnapshot(context.Background())
	m.must(err)
	out, err := os.Create(file)
	m.must(err)
	_, err = io.Copy(out, s.Body)
	m.must(errors.Join(err, out.Close(), s.Body.Close()))
}
