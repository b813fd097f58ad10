// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/server/v3/auth"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore"
)

// tables is the store's AuthTables as etcd's auth package wants them. There is nothing
// to create and nothing to commit: changes are part of the entry's batch.
type tables struct{ t *sqlstore.AuthTables }

var _ auth.AuthBackend = tables{}

// CreateAuthBuckets implements auth.AuthBackend.
func (tables) CreateAuthBuckets() {}

// ForceCommit implements auth.AuthBackend.
func (tables) ForceCommit() {}

// ReadTx implements auth.AuthBackend.
func (b tables) ReadTx() auth.AuthReadTx { return readTx{b.t} }

// BatchTx implements auth.AuthBackend.
func (b tables) BatchTx() auth.AuthBatchTx { return batchTx{readTx{b.t}} }

// GetUser implements auth.AuthBackend.
func (b tables) GetUser(name string) *authpb.User { return locked(b.t, name, b.t.User) }

// GetRole implements auth.AuthBackend.
func (b tables) GetRole(name string) *authpb.Role { return locked(b.t, name, b.t.Role) }

func locked[T any](t *sqlstore.AuthTables, name string, get func(string) T) T {
	t.RLock()
	defer t.RUnlock()
	return get(name)
}

// GetAllUsers implements auth.AuthBackend.
func (b tables) GetAllUsers() []*authpb.User {
	b.t.RLock()
	defer b.t.RUnlock()
	return b.t.Users()
}

// GetAllRoles implements auth.AuthBackend.
func (b tables) GetAllRoles() []*authpb.Role {
	b.t.RLock()
	defer b.t.RUnlock()
	return b.t.Roles()
}

// readTx reads; what it returns is not changed by etcd's package.
type readTx struct{ t *sqlstore.AuthTables }

var _ auth.AuthReadTx = readTx{}

func (r readTx) RLock()                                 { r.t.RLock() }
func (r readTx) RUnlock()                               { r.t.RUnlock() }
func (r readTx) UnsafeReadAuthEnabled() bool            { return r.t.Enabled() }
func (r readTx) UnsafeReadAuthRevision() uint64         { return r.t.Revision() }
func (r readTx) UnsafeGetUser(name string) *authpb.User { return r.t.User(name) }
func (r readTx) UnsafeGetRole(name string) *authpb.Role { return r.t.Role(name) }
func (r readTx) UnsafeGetAllUsers() []*authpb.User      { return r.t.Users() }
func (r readTx) UnsafeGetAllRoles() []*authpb.Role      { return r.t.Roles() }

// batchTx reads and writes. etcd's package changes users and roles in place before it
// puts them, so it gets copies of single ones.
type batchTx struct{ readTx }

var _ auth.AuthBatchTx = batchTx{}

func (b batchTx) Lock()   { b.t.Lock() }
func (b batchTx) Unlock() { b.t.Unlock() }

func (b batchTx) UnsafeGetUser(name string) *authpb.User {
	if u := b.t.User(name); u != nil {
		return proto.CloneOf(u)
	}
	return nil
}

func (b batchTx) UnsafeGetRole(name string) *authpb.Role {
	if r := b.t.Role(name); r != nil {
		return proto.CloneOf(r)
	}
	return nil
}

func (b batchTx) UnsafeSaveAuthEnabled(enabled bool) {
	if enabled {
		b.t.Enable()
	} else {
		b.t.Disable()
	}
}

func (b batchTx) UnsafeSaveAuthRevision(revision uint64) { b.t.SetRevision(revision) }
func (b batchTx) UnsafePutUser(user *authpb.User)        { b.t.PutUser(user) }
func (b batchTx) UnsafeDeleteUser(name string)           { b.t.DeleteUser(name) }
func (b batchTx) UnsafePutRole(role *authpb.Role)        { b.t.PutRole(role) }
func (b batchTx) UnsafeDeleteRole(name string)           { b.t.DeleteRole(name) }
