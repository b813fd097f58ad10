// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"database/sql/driver"
	"errors"
)

const (
	upsertUser       = "INSERT INTO auth_user (name, password, no_password) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET password = excluded.password, no_password = excluded.no_password"
	deleteUser       = "DELETE FROM auth_user WHERE name = ?"
	insertUserRole   = "INSERT INTO auth_user_role (user, role) VALUES (?, ?) ON CONFLICT DO NOTHING"
	deleteUserRoles  = "DELETE FROM auth_user_role WHERE user = ?"
	upsertRole       = "INSERT INTO auth_role (name) VALUES (?) ON CONFLICT DO NOTHING"
	deleteRole       = "DELETE FROM auth_role WHERE name = ?"
	insertPermission = "INSERT INTO auth_permission (role, place, kind, key, range_end) VALUES (?, ?, ?, ?, ?)"
	deletePermission = "DELETE FROM auth_permission WHERE role = ?"
)

// applyAuth writes a batch's changes of users and roles. What belongs to one is
// small and is written anew.
func (db *DB) applyAuth(b *Batch) error {
	var errs []error
	run := func(sql string, args ...any) { errs = append(errs, db.w.exec(sql, args...)) }
	for _, c := range b.Users {
		u := c.User
		run(deleteUserRoles, u.Name)
		if c.Op == Delete {
			run(deleteUser, u.Name)
			continue
		}
		noPassword := int64(0)
		if u.NoPassword {
			noPassword = 1
		}
		run(upsertUser, u.Name, notNil(u.Password), noPassword)
		for _, role := range u.Roles {
			run(insertUserRole, u.Name, role)
		}
	}
	for _, c := range b.Roles {
		r := c.Role
		run(deletePermission, r.Name)
		if c.Op == Delete {
			run(deleteRole, r.Name)
			continue
		}
		run(upsertRole, r.Name)
		for place, p := range r.Permissions {
			run(insertPermission, r.Name, int64(place), p.Kind, notNil(p.Key), notNil(p.RangeEnd))
		}
	}
	return errors.Join(errs...)
}

// loadAuth reads users and roles. A file of the first version has none: it may be
// another member's snapshot, which only Open brings up to date.
func loadAuth(c *conn, state *State) error {
	version, err := c.int("PRAGMA user_version")
	if err != nil || version < 2 {
		return err
	}
	users := map[string]int{}
	err = c.each("SELECT name, password, no_password FROM auth_user ORDER BY name", func(cols []driver.Value) (err error) {
		u := User{Name: typed[string](cols, 0, &err), NoPassword: typed[int64](cols, 2, &err) != 0}
		if hash := typed[[]byte](cols, 1, &err); len(hash) > 0 {
			u.Password = hash
		}
		users[u.Name] = len(state.Users)
		state.Users = append(state.Users, u)
		return err
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT user, role FROM auth_user_role ORDER BY user, role", func(cols []driver.Value) (err error) {
		user, role := typed[string](cols, 0, &err), typed[string](cols, 1, &err)
		if i, ok := users[user]; ok {
			state.Users[i].Roles = append(state.Users[i].Roles, role)
		}
		return err
	})
	if err != nil {
		return err
	}
	roles := map[string]int{}
	err = c.each("SELECT name FROM auth_role ORDER BY name", func(cols []driver.Value) (err error) {
		name := typed[string](cols, 0, &err)
		roles[name] = len(state.Roles)
		state.Roles = append(state.Roles, Role{Name: name})
		return err
	})
	if err != nil {
		return err
	}
	return c.each("SELECT role, kind, key, range_end FROM auth_permission ORDER BY role, place", func(cols []driver.Value) (err error) {
		p := Permission{Kind: typed[string](cols, 1, &err), Key: typed[[]byte](cols, 2, &err), RangeEnd: typed[[]byte](cols, 3, &err)}
		if i, ok := roles[typed[string](cols, 0, &err)]; ok {
			state.Roles[i].Permissions = append(state.Roles[i].Permissions, p)
		}
		return err
	})
}
