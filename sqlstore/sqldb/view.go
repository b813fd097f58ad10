// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
)

// View is one consistent state of the database.
type View struct {
	c    *conn
	path string
}

// View runs fn on one read transaction, which sees everything enqueued before the
// call. While it runs the -wal file can't be emptied and grows, and one of
// Options.ReadConns is taken; fn must not call methods of the DB.
func (db *DB) View(ctx context.Context, fn func(v *View) error) error {
	if err := db.Flush(ctx); err != nil {
		return err
	}
	return db.readers.with(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			// SQLite takes its snapshot at the first read, not at BEGIN.
			if _, err := c.int("SELECT count(*) FROM setting"); err != nil {
				return checked(db.opts.Path, "begin to read", err)
			}
			return fn(&View{c: c, path: db.opts.Path})
		})
	})
}

// Scan hands the rows of the view to fn, in order of Seq, one at a time. They are
// fn's to keep. fn's error ends the scan and is returned.
func (v *View) Scan(ctx context.Context, fn func(r Row) error) error {
	err := v.c.each("SELECT "+rowColumns+" FROM history ORDER BY seq", func(cols []driver.Value) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := rowOf(cols)
		if err != nil {
			return err
		}
		return fn(r)
	})
	return checked(v.path, "scan", err)
}
