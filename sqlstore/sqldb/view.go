// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
)

// View is one consistent state of the database, for as long as View's fn runs.
type View struct{ c *conn }

// View calls fn with everything enqueued before, unchanged by what is written
// meanwhile. The -wal file can't be emptied until fn returns.
func (db *DB) View(ctx context.Context, fn func(v *View) error) error {
	if err := db.Flush(ctx); err != nil {
		return err
	}
	return db.readers.with(ctx, func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		return errors.Join(fn(&View{c: c}), c.exec("COMMIT"))
	})
}

// Scan calls fn for all rows in the order of Seq.
func (v *View) Scan(ctx context.Context, fn func(r Row) error) error {
	return v.c.each("SELECT "+rowColumns+" FROM history ORDER BY seq", func(cols []driver.Value) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(rowOf(cols))
	})
}
