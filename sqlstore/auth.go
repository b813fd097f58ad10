// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"maps"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// Authority decides, as part of apply, who may do what, and applies the requests that
// are about users and roles. What it decides must follow from the entry and from the
// store alone. Its methods are called by one goroutine at a time, the one that
// applies.
type Authority interface {
	// Suspend is called before Restore changes both what is stored and who may read
	// it. Nobody can tell then what to permit, until Recover.
	Suspend()
	// Recover is called by Open and Restore, when the store's AuthTables and leases are
	// complete.
	Recover(s *Store)
	// Permit says why a request about keys or leases may not be applied.
	Permit(r *pb.InternalRaftRequest) error
	// Apply applies a request about users and roles, which the entry at index holds,
	// and returns etcd's response without a header.
	Apply(index uint64, r *pb.InternalRaftRequest) (any, error)
	// Applied is called when everything up to the entry at index is readable.
	Applied(index uint64)
}

// authRequest tells the requests that are the authority's.
func authRequest(r *pb.InternalRaftRequest) bool {
	switch {
	case r.Put != nil, r.Txn != nil, r.DeleteRange != nil, r.Range != nil, r.Compaction != nil, r.LeaseGrant != nil, r.LeaseRevoke != nil:
		return false // nearly all
	case r.Authenticate != nil, r.AuthEnable != nil, r.AuthDisable != nil, r.AuthStatus != nil,
		r.AuthUserAdd != nil, r.AuthUserDelete != nil, r.AuthUserGet != nil, r.AuthUserChangePassword != nil,
		r.AuthUserGrantRole != nil, r.AuthUserRevokeRole != nil, r.AuthUserList != nil,
		r.AuthRoleAdd != nil, r.AuthRoleDelete != nil, r.AuthRoleGet != nil, r.AuthRoleList != nil,
		r.AuthRoleGrantPermission != nil, r.AuthRoleRevokePermission != nil:
		return true
	}
	return false
}

// permit asks the authority, if there is one.
func (s *Store) permit(r *pb.InternalRaftRequest) error {
	if s.opts.Authority == nil {
		return nil
	}
	return s.opts.Authority.Permit(r)
}

// suspendAuthority and recoverAuthority surround a change of all there is.
func (s *Store) suspendAuthority() {
	if s.opts.Authority != nil {
		s.opts.Authority.Suspend()
	}
}

func (s *Store) recoverAuthority() {
	if s.opts.Authority != nil {
		s.opts.Authority.Recover(s)
		s.opts.Authority.Applied(s.applied.index)
	}
}

// firstAuthRevision is the revision before the first change, as etcd's members have it
// without an entry that says so.
const firstAuthRevision = 1

// AuthTables are the users and roles, and whether they count. Everybody may read them,
// only the authority writes, as part of apply. What a method returns nobody may
// change. The methods are called with the lock held, for reading or for writing.
type AuthTables struct {
	sync.RWMutex
	store    *Store
	enabled  bool
	revision uint64
	users    map[string]*authpb.User
	roles    map[string]*authpb.Role
}

// AuthTables returns the store's.
func (s *Store) AuthTables() *AuthTables { return s.auth }

// recover makes the tables what a database holds.
func (t *AuthTables) recover(state sqldb.State) error {
	users, roles := make(map[string]*authpb.User), make(map[string]*authpb.Role)
	for _, u := range state.Users {
		users[u.Name] = backend.UserOf(u)
	}
	for _, r := range state.Roles {
		role, err := backend.RoleOf(r)
		if err != nil {
			return err
		}
		roles[r.Name] = role
	}
	t.Lock()
	defer t.Unlock()
	t.users, t.roles = users, roles
	t.enabled = state.Settings[sqldb.SettingAuthEnabled].Int != 0
	t.revision = max(uint64(state.Settings[sqldb.SettingAuthRevision].Int), firstAuthRevision)
	return nil
}

// Enabled reports whether users must authenticate.
func (t *AuthTables) Enabled() bool { return t.enabled }

// Revision counts the changes of users and roles.
func (t *AuthTables) Revision() uint64 { return t.revision }

// User returns a user, nil if there is none of that name.
func (t *AuthTables) User(name string) *authpb.User { return t.users[name] }

// Role returns a role, nil if there is none of that name.
func (t *AuthTables) Role(name string) *authpb.Role { return t.roles[name] }

// Users returns all users in the order of their names.
func (t *AuthTables) Users() []*authpb.User { return inOrder(t.users) }

// Roles returns all roles in the order of their names.
func (t *AuthTables) Roles() []*authpb.Role { return inOrder(t.roles) }

func inOrder[T any](all map[string]*T) []*T {
	out := make([]*T, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// Enable has users authenticate from now on.
func (t *AuthTables) Enable() {
	t.enabled = true
	t.set(sqldb.SettingAuthEnabled, 1)
}

// Disable has everybody do everything.
func (t *AuthTables) Disable() {
	t.enabled = false
	t.set(sqldb.SettingAuthEnabled, 0)
}

// SetRevision notes a change of users or roles.
func (t *AuthTables) SetRevision(revision uint64) {
	t.revision = revision
	t.set(sqldb.SettingAuthRevision, int64(revision))
}

func (t *AuthTables) set(setting string, value int64) {
	b := t.store.batch
	b.Settings = append(b.Settings, sqldb.Setting{Name: setting, Int: value})
}

// PutUser adds a user or changes one.
func (t *AuthTables) PutUser(user *authpb.User) {
	u := proto.CloneOf(user) // the request that it came with is used again
	t.users[string(u.Name)] = u
	t.changeUser(sqldb.Put, backend.UserRow(u))
}

// DeleteUser removes a user.
func (t *AuthTables) DeleteUser(name string) {
	delete(t.users, name)
	t.changeUser(sqldb.Delete, sqldb.User{Name: name})
}

func (t *AuthTables) changeUser(op sqldb.Op, user sqldb.User) {
	b := t.store.batch
	b.Users = append(b.Users, sqldb.UserChange{Op: op, User: user})
}

// PutRole adds a role or changes one.
func (t *AuthTables) PutRole(role *authpb.Role) {
	r := proto.CloneOf(role)
	t.roles[string(r.Name)] = r
	t.changeRole(sqldb.Put, backend.RoleRow(r))
}

// DeleteRole removes a role.
func (t *AuthTables) DeleteRole(name string) {
	delete(t.roles, name)
	t.changeRole(sqldb.Delete, sqldb.Role{Name: name})
}

func (t *AuthTables) changeRole(op sqldb.Op, role sqldb.Role) {
	b := t.store.batch
	b.Roles = append(b.Roles, sqldb.RoleChange{Op: op, Role: role})
}
