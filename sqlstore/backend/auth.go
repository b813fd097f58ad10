// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/sqldb"
)

// Values of authEnabledKey.
const (
	authEnabled  = "\x01"
	authDisabled = "\x00"
)

// firstAuthRevision is that of an etcd whose users and roles nobody has changed.
const firstAuthRevision = 1

// UserOf is the user in a row.
func UserOf(u sqldb.User) *authpb.User {
	return &authpb.User{
		Name: []byte(u.Name), Password: u.Password, Roles: u.Roles,
		Options: &authpb.UserAddOptions{NoPassword: u.NoPassword},
	}
}

// UserRow is the row of a user.
func UserRow(u *authpb.User) sqldb.User {
	return sqldb.User{Name: string(u.Name), Password: u.Password, NoPassword: u.GetOptions().GetNoPassword(), Roles: u.Roles}
}

// RoleOf is the role in a row.
func RoleOf(r sqldb.Role) (*authpb.Role, error) {
	role := &authpb.Role{Name: []byte(r.Name)}
	for _, p := range r.Permissions {
		kind, err := permissionType(p.Kind)
		if err != nil {
			return nil, fmt.Errorf("backend: role %q: %w", r.Name, err)
		}
		role.KeyPermission = append(role.KeyPermission, &authpb.Permission{PermType: kind, Key: p.Key, RangeEnd: p.RangeEnd})
	}
	return role, nil
}

// RoleRow is the row of a role.
func RoleRow(r *authpb.Role) sqldb.Role {
	row := sqldb.Role{Name: string(r.Name)}
	for _, p := range r.KeyPermission {
		row.Permissions = append(row.Permissions, sqldb.Permission{Kind: p.PermType.String(), Key: p.Key, RangeEnd: p.RangeEnd})
	}
	return row
}

// permissionType is the inverse of a type's String, which gives a number for what has
// no name: etcd keeps those, too.
func permissionType(kind string) (authpb.Permission_Type, error) {
	if n, ok := authpb.Permission_Type_value[kind]; ok {
		return authpb.Permission_Type(n), nil
	}
	n, err := strconv.ParseInt(kind, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("permission of unknown kind %q", kind)
	}
	return authpb.Permission_Type(n), nil
}

// addAuth adds users and roles.
func (p *pairs) addAuth(state *sqldb.State) error {
	if s, ok := state.Settings[sqldb.SettingAuthEnabled]; ok {
		value := authDisabled
		if s.Int != 0 {
			value = authEnabled
		}
		p.add(authBucket, authEnabledKey, []byte(value))
	}
	revision := max(uint64(state.Settings[sqldb.SettingAuthRevision].Int), firstAuthRevision)
	p.add(authBucket, authRevisionKey, binary.BigEndian.AppendUint64(nil, revision))
	for _, u := range state.Users {
		value, err := proto.Marshal(UserOf(u))
		if err != nil {
			return fmt.Errorf("backend: user %q: %w", u.Name, err)
		}
		p.add(authUsersBucket, u.Name, value)
	}
	for _, r := range state.Roles {
		role, err := RoleOf(r)
		if err != nil {
			return err
		}
		value, err := proto.Marshal(role)
		if err != nil {
			return fmt.Errorf("backend: role %q: %w", r.Name, err)
		}
		p.add(authRolesBucket, r.Name, value)
	}
	return nil
}

// readAuth reads whether users count, and their revision.
func (i *importer) readAuth(k, v []byte) error {
	switch string(k) {
	case authEnabledKey:
		enabled := int64(0)
		if string(v) == authEnabled {
			enabled = 1
		}
		i.set(sqldb.Setting{Name: sqldb.SettingAuthEnabled, Int: enabled})
	case authRevisionKey:
		if len(v) != 8 {
			return fmt.Errorf("%w: %s is %x", ErrDamaged, k, v)
		}
		if revision := binary.BigEndian.Uint64(v); revision != firstAuthRevision { // which goes without saying
			i.set(sqldb.Setting{Name: sqldb.SettingAuthRevision, Int: int64(revision)})
		}
	}
	return nil
}

func (i *importer) readUser(k, v []byte) error {
	u := new(authpb.User)
	if err := proto.Unmarshal(v, u); err != nil || string(u.Name) != string(k) {
		return fmt.Errorf("%w: what is there of user %q is not of that user", ErrDamaged, k)
	}
	i.batch.Users = append(i.batch.Users, sqldb.UserChange{User: UserRow(u)})
	return nil
}

func (i *importer) readRole(k, v []byte) error {
	r := new(authpb.Role)
	if err := proto.Unmarshal(v, r); err != nil || string(r.Name) != string(k) {
		return fmt.Errorf("%w: what is there of role %q is not of that role", ErrDamaged, k)
	}
	i.batch.Roles = append(i.batch.Roles, sqldb.RoleChange{Role: RoleRow(r)})
	return nil
}
