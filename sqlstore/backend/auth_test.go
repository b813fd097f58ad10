// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// TestAuth writes users and roles and reads them again.
func TestAuth(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "keelson.db"))
	users := []sqldb.User{
		{Name: "certified", NoPassword: true, Roles: []string{"r"}}, {Name: "root", Password: []byte("hash"), Roles: []string{"r", "root"}},
	}
	roles := []sqldb.Role{{Name: "empty"}, {Name: "r", Permissions: []sqldb.Permission{
		{Kind: "READ", Key: []byte("a"), RangeEnd: []byte{0}}, {Kind: "READWRITE", Key: []byte("b")}, {Kind: "7", Key: []byte("c"), RangeEnd: []byte("d")},
	}}}
	settings := []sqldb.Setting{{Name: sqldb.SettingAuthEnabled, Int: 1}, {Name: sqldb.SettingAuthRevision, Int: 1 << 40}}
	batch := &sqldb.Batch{AppliedIndex: 9, AppliedTerm: 1, Revision: 1, Settings: settings}
	for _, u := range users {
		batch.Users = append(batch.Users, sqldb.UserChange{User: u})
	}
	for _, r := range roles {
		batch.Roles = append(batch.Roles, sqldb.RoleChange{Role: r})
	}
	if err := db.Write(batch); err != nil {
		t.Fatal(err)
	}
	cp, err := db.Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := saved(t, cp)
	if err := cp.Close(); err != nil {
		t.Fatal(err)
	}
	made, err := importTo(t, path)
	if err != nil {
		t.Fatal(err)
	}
	state, err := sqldb.Inspect(t.Context(), made)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(users, state.Users); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(roles, state.Roles); diff != "" {
		t.Error(diff)
	}
	for _, s := range settings {
		if got := state.Settings[s.Name]; got.Int != s.Int {
			t.Errorf("%s is %d, want %d", s.Name, got.Int, s.Int)
		}
	}

	file, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = file.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("auth")).Get([]byte("authEnabled")); string(got) != "\x01" {
			t.Errorf("authEnabled is %x", got)
		}
		got, want := new(authpb.User), backend.UserOf(users[1])
		if err := proto.Unmarshal(tx.Bucket([]byte("authUsers")).Get([]byte("root")), got); err != nil {
			return err
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		return nil
	})
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
