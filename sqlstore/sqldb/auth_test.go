// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func authOf(state State) State {
	return State{Users: state.Users, Roles: state.Roles}
}

// TestAuthRoundTrip changes users and roles and reads them after a restart.
func TestAuthRoundTrip(t *testing.T) {
	o := testOptions(t)
	db := open(t, o)
	reader := Role{Name: "reader", Permissions: []Permission{
		{Kind: "READ", Key: []byte("b"), RangeEnd: []byte("c")},
		{Kind: "READWRITE", Key: []byte("a"), RangeEnd: []byte{0}},
		{Kind: "WRITE", Key: []byte("a")},
	}}
	alice := User{Name: "alice", Password: []byte("hash\x00"), Roles: []string{"reader", "root"}}
	bob := User{Name: "bob", NoPassword: true, Roles: []string{"reader"}}
	must(t, db.Write(&Batch{
		Users: []UserChange{{User: User{Name: "alice", Password: []byte("old"), Roles: []string{"gone"}}}, {User: bob}, {User: User{Name: "carol"}}},
		Roles: []RoleChange{{Role: Role{Name: "empty"}}, {Role: Role{Name: "reader", Permissions: reader.Permissions[:1]}}, {Role: Role{Name: "gone", Permissions: reader.Permissions}}},
	}))
	must(t, db.Write(&Batch{
		Users: []UserChange{{User: alice}, {Op: Delete, User: User{Name: "carol"}}},
		Roles: []RoleChange{{Role: reader}, {Op: Delete, Role: Role{Name: "gone"}}},
	}))
	must(t, db.Close(context.Background()))

	want := State{Users: []User{alice, bob}, Roles: []Role{{Name: "empty"}, reader}}
	inspected, err := Inspect(t.Context(), o.Path)
	must(t, err)
	if diff := cmp.Diff(want, authOf(inspected)); diff != "" {
		t.Errorf("inspected (-want +got):\n%s", diff)
	}
	db = open(t, o)
	state, err := db.LoadState(t.Context())
	must(t, err)
	if diff := cmp.Diff(want, authOf(state)); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	for sql, want := range map[string]string{
		"SELECT name, has_password, roles FROM users ORDER BY name": "\nalice 1 reader, root\nbob 0 reader",
		"SELECT role, kind, key, extent FROM permissions":           "\nreader READ b up to c\nreader READWRITE a from the key on\nreader WRITE a the key",
	} {
		if got := query(t, db, sql); got != want {
			t.Errorf("%s:%s\nwant:%s", sql, got, want)
		}
	}
}

// TestUpgrade opens a file of the first version of the schema: it is read as it is by
// Inspect, which changes nothing, and gets what it lacks when it is opened.
func TestUpgrade(t *testing.T) {
	o := written(t, 10)
	alter(t, o.Path, "BEGIN; DROP VIEW users; DROP VIEW permissions; DROP TABLE auth_user; DROP TABLE auth_user_role; DROP TABLE auth_role; DROP TABLE auth_permission; PRAGMA user_version=1; COMMIT; PRAGMA journal_mode=DELETE; PRAGMA journal_mode=WAL;")
	before, err := os.ReadFile(o.Path)
	must(t, err)
	state, err := Inspect(t.Context(), o.Path)
	must(t, err)
	if state.NextSeq != 11 || state.Users != nil {
		t.Fatalf("a file of version 1 holds %+v", state)
	}
	if after, err := os.ReadFile(o.Path); err != nil || string(after) != string(before) {
		t.Fatalf("Inspect changed the file (%v)", err)
	}
	user := User{Name: "u", Password: []byte("h")}
	for range 2 { // the second time nothing is to be done
		db := open(t, o)
		verify(t, db, func(int64) bool { return false })
		must(t, db.Write(&Batch{Users: []UserChange{{User: user}}}))
		must(t, db.Close(context.Background()))
		state, err = Inspect(t.Context(), o.Path)
		must(t, err)
		if diff := cmp.Diff([]User{user}, state.Users); diff != "" {
			t.Fatal(diff)
		}
	}
}
