// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
)

// prepareToServe checks what SQLite says of the file and brings it up to date.
func (db *DB) prepareToServe() error {
	version, err := db.w.int("PRAGMA user_version")
	if err != nil {
		return checked(db.opts.Path, "open", err)
	}
	if err := checkVersion(db.opts.Path, version); err != nil {
		return err
	}
	return db.w.exec("PRAGMA wal_checkpoint(TRUNCATE)")
}

func (db *DB) closeWriter() error {
	return errors.Join(db.w.exec("PRAGMA wal_checkpoint(TRUNCATE)"), db.w.close())
}

// deletion is a call of Delete.
type deletion struct {
	seqs []int64
	done chan error
}

// Delete removes rows that were enqueued before, and returns when that is
// committed. The writer does it in slices that hold up no batch for long. After a
// crash some of the rows may be gone and others not.
func (db *DB) Delete(ctx context.Context, seqs []int64) error {
	if err := db.Flush(ctx); err != nil {
		return err
	}
	return db.do(ctx, func() error {
		return db.transact(func() error {
			for _, s := range seqs {
				if err := db.w.exec("DELETE FROM history WHERE seq = ?", s); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Persist makes everything enqueued before the call durable, whatever happens
// to the machine, and returns the applied index that is.
func (db *DB) Persist(ctx context.Context) (applied uint64, err error) {
	if err := db.Flush(ctx); err != nil {
		return 0, err
	}
	err = db.do(ctx, func() error {
		applied = db.stats.CommittedIndex
		return db.w.exec("PRAGMA wal_checkpoint(PASSIVE)")
	})
	return applied, err
}

// Vacuum asks for all free pages to be given back to the file system, in the
// background and in slices. It returns at once; Stats shows the progress.
func (db *DB) Vacuum() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.vacuumAll = true
	db.wake()
}

// View is one consistent state of the database.
type View struct{ c *conn }

// View runs fn on one read transaction, which sees everything enqueued before
// the call. The -wal file can't be started over while it is open.
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

// Scan hands the rows of the view to fn, in order.
func (v *View) Scan(ctx context.Context, fn func(r Row) error) error {
	return v.c.each("SELECT "+rowColumns+" FROM history ORDER BY seq", func(cols []driver.Value) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(rowOf(cols))
	})
}
