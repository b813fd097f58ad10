// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"google.golang.org/protobuf/testing/protocmp"

	"keelson.io/keelson/sqlstore/sqldb"
)

func put(r *pb.PutRequest) *pb.InternalRaftRequest { return &pb.InternalRaftRequest{Put: r} }

func txn(r *pb.TxnRequest) *pb.InternalRaftRequest { return &pb.InternalRaftRequest{Txn: r} }

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// TestPermit applies one entry of each kind as users who may and users who may not.
// Among them are those by which etcd once let users go around its rules: operations in
// nested transactions, and prev_kv and leases of a put in a transaction.
func TestPermit(t *testing.T) {
	m := newMember(t)
	m.populate()
	m.apply(
		&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 1, TTL: 100}},
		&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 2, TTL: 100}},
		put(&pb.PutRequest{Key: []byte("secret"), Lease: 1}), put(&pb.PutRequest{Key: []byte("b"), Lease: 2}),
	)
	key := func(k string) *pb.PutRequest { return &pb.PutRequest{Key: []byte(k)} }
	withPrev := func(k string) *pb.PutRequest { return &pb.PutRequest{Key: []byte(k), PrevKv: true} }
	withLease := func(k string, id int64) *pb.PutRequest { return &pb.PutRequest{Key: []byte(k), Lease: id} }
	read := func(k, end string) *pb.RangeRequest { return &pb.RangeRequest{Key: []byte(k), RangeEnd: []byte(end)} }
	remove := func(k, end string, prev bool) *pb.DeleteRangeRequest {
		return &pb.DeleteRangeRequest{Key: []byte(k), RangeEnd: []byte(end), PrevKv: prev}
	}
	then := func(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }
	otherwise := func(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Failure: ops} }
	compare := func(k, end string) *pb.TxnRequest {
		return &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte(k), RangeEnd: []byte(end), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}}}
	}
	denied, empty := auth.ErrPermissionDenied, auth.ErrUserEmpty
	for _, test := range []struct {
		name, user string
		r          *pb.InternalRaftRequest
		want       error
	}{
		{"put", "writer", put(key("w")), nil},
		{"put of nobody", "", put(key("w")), empty},
		{"put of a user who is not there", "ghost", put(key("w")), denied},
		{"put by a reader", "reader", put(key("r")), denied},
		{"put in a range", "writer", put(key("w/1")), nil},
		{"put at the end of a range", "writer", put(key("w0")), denied},
		{"put by root", "root", put(key("anything")), nil},
		{"put with prev_kv of a key not to be read", "writer", put(withPrev("w")), denied},
		{"put with prev_kv", "both", put(withPrev("b")), nil},
		{"put with a lease of another's key", "both", put(withLease("b", 1)), denied},
		{"put with a lease", "both", put(withLease("b", 2)), nil},
		{"delete", "writer", &pb.InternalRaftRequest{DeleteRange: remove("w/", "w0", false)}, nil},
		{"delete of more", "writer", &pb.InternalRaftRequest{DeleteRange: remove("w", "w0", false)}, denied},
		{"delete from a key on", "writer", &pb.InternalRaftRequest{DeleteRange: remove("w/", "\x00", false)}, denied},
		{"delete with prev_kv of a key not to be read", "writer", &pb.InternalRaftRequest{DeleteRange: remove("w/", "w0", true)}, denied},
		{"range", "reader", &pb.InternalRaftRequest{Range: read("r/", "r0")}, nil},
		{"range of more", "reader", &pb.InternalRaftRequest{Range: read("r/", "r1")}, denied},
		{"range from a key on", "reader", &pb.InternalRaftRequest{Range: read("r", "\x00")}, denied},
		{"range from a permitted key on", "anyone", &pb.InternalRaftRequest{Range: read("m", "\x00")}, nil},
		{"range from before", "anyone", &pb.InternalRaftRequest{Range: read("l", "\x00")}, denied},
		{"txn", "both", txn(then(putOp(key("b")), rangeOp(read("w", "")), deleteOp(remove("w", "", true)))), nil},
		{"txn compares a key not to be read", "writer", txn(compare("secret", "")), denied},
		{"txn compares a range not to be read", "reader", txn(compare("r", "\x00")), denied},
		{"txn compares", "reader", txn(compare("r/", "r0")), nil},
		{"txn reads in the branch not taken", "both", txn(otherwise(rangeOp(read("secret", "")))), denied},
		{"txn writes in the branch not taken", "both", txn(otherwise(putOp(key("secret")))), denied},
		{"txn puts with prev_kv", "writer", txn(then(putOp(withPrev("w")))), denied},
		{"txn puts with another's lease", "both", txn(then(putOp(withLease("b", 1)))), denied},
		{"txn deletes with prev_kv", "writer", txn(then(deleteOp(remove("w", "", true)))), denied},
		{"txn deletes", "writer", txn(then(deleteOp(remove("w", "", false)))), nil},
		{"nested txn reads", "both", txn(then(txnOp(then(rangeOp(read("secret", "")))))), denied},
		{"nested txn writes", "both", txn(then(txnOp(otherwise(txnOp(then(putOp(key("secret")))))))), denied},
		{"nested txn compares", "both", txn(then(txnOp(compare("secret", "")))), denied},
		{"nested txn deletes", "both", txn(then(txnOp(then(deleteOp(remove("a", "\x00", false)))))), denied},
		{"nested txn", "both", txn(then(txnOp(then(putOp(key("b")))))), nil},
		{"revoke another's lease", "both", &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}, denied},
		{"revoke of nobody", "", &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}, empty},
		{"revoke", "both", &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 2}}, nil},
		{"revoke by root", "root", &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}, nil},
		{"grant a lease", "", &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 3, TTL: 100}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := m.store.Revision()
			resp, err := m.applyAs(test.user, test.r)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || (err == nil) == (resp == nil) {
				t.Errorf("got %v, %v, want %v", resp, err, test.want)
			}
			if err != nil && m.store.Revision() != before {
				t.Error("a refused entry wrote")
			}
		})
	}
}

// TestAdministration asks for what only root may, and for the exceptions.
func TestAdministration(t *testing.T) {
	m := newMember(t)
	m.populate()
	for _, r := range []*pb.InternalRaftRequest{
		{AuthEnable: &pb.AuthEnableRequest{}}, {AuthDisable: &pb.AuthDisableRequest{}},
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: "x"}}, {AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "both"}},
		{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: "reader"}}, {AuthUserList: &pb.AuthUserListRequest{}},
		{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "reader", Role: "root"}},
		{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}},
		addRole("x"), {AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "both"}}, {AuthRoleList: &pb.AuthRoleListRequest{}},
		grant("reader", authpb.Permission_READ, "secret", ""),
		{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: []byte("r")}},
		{AuthUserGet: &pb.AuthUserGetRequest{Name: "root"}}, {AuthRoleGet: &pb.AuthRoleGetRequest{Role: "both"}},
	} {
		revision := m.Users().Revision()
		for user, want := range map[string]error{"reader": auth.ErrPermissionDenied, "": auth.ErrUserEmpty, "ghost": auth.ErrUserNotFound} {
			if resp, err := m.applyAs(user, r); resp != nil || !errors.Is(err, want) {
				t.Errorf("%q: %v: %v, %v, want %v", user, r, resp, err, want)
			}
		}
		if m.Users().Revision() != revision || !m.Enabled() {
			t.Fatalf("%v: a refused entry changed something", r)
		}
	}
	for _, r := range []*pb.InternalRaftRequest{
		{AuthUserGet: &pb.AuthUserGetRequest{Name: "reader"}}, {AuthRoleGet: &pb.AuthRoleGetRequest{Role: "reader"}}, {AuthStatus: &pb.AuthStatusRequest{}},
	} {
		if _, err := m.applyAs("reader", r); err != nil {
			t.Errorf("a user asks of itself: %v: %v", r, err)
		}
	}
	for _, r := range []*pb.InternalRaftRequest{
		{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "root"}}, {AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "root"}},
		{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}},
	} {
		if _, err := m.applyAs("root", r); !errors.Is(err, auth.ErrInvalidAuthMgmt) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// TestOldRevision applies entries that were permitted when they were proposed.
func TestOldRevision(t *testing.T) {
	m := newMember(t)
	m.populate()
	old := m.Users().Revision()
	m.apply(addRole("new"))
	if _, err := m.applyAt("writer", old, put(&pb.PutRequest{Key: []byte("w")})); !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("put: %v", err)
	}
	if _, err := m.applyAt("root", old, put(&pb.PutRequest{Key: []byte("w")})); !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("root's put: %v", err)
	}
	m.apply(&pb.InternalRaftRequest{AuthDisable: &pb.AuthDisableRequest{}})
	if _, err := m.applyAt("nobody", 0, put(&pb.PutRequest{Key: []byte("w")})); err != nil {
		t.Errorf("disabled: %v", err)
	}
}

// state is what the member's file holds, after all was written.
func (m *member) state() sqldb.State {
	m.t.Helper()
	_, err := m.store.Persist(context.Background())
	m.must(err)
	file := filepath.Join(m.t.TempDir(), "copy.db")
	m.snapshot(file)
	state, err := sqldb.Inspect(context.Background(), file)
	m.must(err)
	return sqldb.State{Users: state.Users, Roles: state.Roles, Settings: map[string]sqldb.Setting{
		"enabled": state.Settings[sqldb.SettingAuthEnabled], "revision": state.Settings[sqldb.SettingAuthRevision],
	}}
}

// describe is all that clients can learn of users and roles.
func (m *member) describe() []any {
	m.t.Helper()
	ask := func(r *pb.InternalRaftRequest) any {
		resp, err := m.applyAs("root", r)
		m.must(err)
		return resp
	}
	users := ask(&pb.InternalRaftRequest{AuthUserList: &pb.AuthUserListRequest{}}).(*pb.AuthUserListResponse)
	roles := ask(&pb.InternalRaftRequest{AuthRoleList: &pb.AuthRoleListRequest{}}).(*pb.AuthRoleListResponse)
	all := []any{users, roles, ask(&pb.InternalRaftRequest{AuthStatus: &pb.AuthStatusRequest{}})}
	for _, name := range users.Users {
		all = append(all, ask(&pb.InternalRaftRequest{AuthUserGet: &pb.AuthUserGetRequest{Name: name}}))
	}
	for _, name := range roles.Roles {
		all = append(all, ask(&pb.InternalRaftRequest{AuthRoleGet: &pb.AuthRoleGetRequest{Role: name}}))
	}
	return all
}

// TestRestartAndSnapshot wants a member that starts again, and one that was brought up
// by a snapshot, to decide like the one that applied all entries.
func TestRestartAndSnapshot(t *testing.T) {
	m := newMember(t)
	m.populate()
	m.apply(
		&pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: "certified", Options: &authpb.UserAddOptions{NoPassword: true}}},
		&pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "nothing"}},
		&pb.InternalRaftRequest{AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "both"}},
		grant("writer", 7, "odd", ""),
	)
	want, rows := m.describe(), m.state()
	m.close()
	m.open()
	if diff := cmp.Diff(want, m.describe(), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(rows, m.state()); diff != "" {
		t.Errorf("rows after a restart (-before +after):\n%s", diff)
	}
	if _, err := m.applyAs("writer", put(&pb.PutRequest{Key: []byte("w/1")})); err != nil {
		t.Error(err)
	}

	for _, test := range []struct {
		name   string
		before func(*member)
	}{
		{"empty", func(*member) {}},
		{"enabled", func(n *member) {
			n.populate()
			n.apply(&pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "root", SimpleToken: "t"}})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := newMember(t)
			test.before(other)
			file := filepath.Join(t.TempDir(), "snapshot.db")
			m.snapshot(file)
			other.must(other.store.Restore(context.Background(), file))
			other.index, _ = other.store.Applied()
			if diff := cmp.Diff(want, other.describe(), protocmp.Transform()); diff != "" {
				t.Errorf("after a snapshot (-sent +received):\n%s", diff)
			}
			if _, err := other.applyAs("both", put(&pb.PutRequest{Key: []byte("b")})); !errors.Is(err, auth.ErrPermissionDenied) {
				t.Errorf("a role that is gone counts: %v", err)
			}
		})
	}
	// Disabled by a snapshot: nobody needs a token any more, and none is left.
	m.apply(&pb.InternalRaftRequest{AuthDisable: &pb.AuthDisableRequest{}})
	other := newMember(t)
	other.populate()
	file := filepath.Join(t.TempDir(), "snapshot.db")
	m.snapshot(file)
	other.must(other.store.Restore(context.Background(), file))
	if other.Enabled() || other.Users().Revision() != m.Users().Revision() {
		t.Errorf("enabled %v at revision %d, want disabled at %d", other.Enabled(), other.Users().Revision(), m.Users().Revision())
	}
}

// TestSameOnAllMembers applies the same entries on two members.
func TestSameOnAllMembers(t *testing.T) {
	a, b := newMember(t), newMember(t)
	requests := addUser(t, "root", "root")
	requests = append(requests, addRole("r"), grant("r", authpb.Permission_READWRITE, "k", "l"), grant("r", authpb.Permission_READ, "k", ""), grant("r", authpb.Permission_READ, "a", "\x00"))
	requests = append(requests, addUser(t, "u", "r")...)
	requests = append(requests, &pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}})
	for _, m := range []*member{a, b} {
		m.apply(requests...)
	}
	if diff := cmp.Diff(a.state(), b.state()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(a.describe(), b.describe(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
