// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"

	"go.etcd.io/etcd/server/v3/auth"
)

// RenewLease refuses clients that may not write all keys of a lease.
func (a *Authority) RenewLease(ctx context.Context, id int64) error {
	return a.aboutLease(ctx, a.Users().IsPutPermitted, id)
}

// ReadLeases refuses clients that may not read all keys of some leases.
func (a *Authority) ReadLeases(ctx context.Context, ids ...int64) error {
	return a.aboutLease(ctx, a.readable, ids...)
}

func (a *Authority) readable(info *auth.AuthInfo, key []byte) error {
	return a.Users().IsRangePermitted(info, key, nil)
}

// aboutLease refuses clients that are not permitted all keys of leases.
func (a *Authority) aboutLease(ctx context.Context, permitted func(*auth.AuthInfo, []byte) error, ids ...int64) error {
	if !a.Enabled() {
		return nil
	}
	unchanged := a.fromNow()
	info, err := a.Info(ctx)
	if err != nil {
		return err
	}
	if info == nil {
		return auth.ErrUserEmpty
	}
	for _, id := range ids {
		if err := a.permitKeys(info, id, permitted); err != nil {
			return err
		}
	}
	return unchanged()
}

// ReadKeys refuses clients that may not read some keys.
func (a *Authority) ReadKeys(ctx context.Context, keys [][]byte) error {
	if !a.Enabled() || len(keys) == 0 {
		return nil
	}
	unchanged := a.fromNow()
	info, err := a.someone(ctx)
	if err != nil || a.Users().IsAdminPermitted(info) == nil {
		return err
	}
	for _, key := range keys {
		if err := a.readable(info, key); err != nil {
			return err
		}
	}
	return unchanged()
}
