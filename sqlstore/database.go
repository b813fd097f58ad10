// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"keelson.io/keelson/sqlstore/sqldb"
)

// database is the open database, which Restore replaces. Whoever reads rows does it
// within use: a call sees one database and, since Restore publishes the new view
// before it lets anybody in, never a newer one than the view that is published.
type database struct {
	gate sync.RWMutex // held for writing while the database is replaced
	ptr  atomic.Pointer[openDatabase]
}

// openDatabase is a database and what ends long reads of it.
type openDatabase struct {
	*sqldb.DB
	ctx    context.Context
	cancel context.CancelFunc
}

// set makes db the open database; long reads of it end with ctx.
func (d *database) set(ctx context.Context, db *sqldb.DB) {
	o := &openDatabase{DB: db}
	o.ctx, o.cancel = context.WithCancel(ctx)
	d.ptr.Store(o)
}

// use hands the database to fn, waiting while it is being replaced. fn must be
// quick, and must not wait for a client.
func (d *database) use(fn func(db *sqldb.DB) error) error {
	d.gate.RLock()
	defer d.gate.RUnlock()
	return fn(d.ptr.Load().DB)
}

// now returns the database without waiting: for whoever does not run beside
// Restore, and for what a closed one answers too.
func (d *database) now() *sqldb.DB { return d.ptr.Load().DB }

// readAll has fn read a view of the database, which may take its time: a Restore ends
// it, and then fn is called again. Close ends it too.
func (s *Store) readAll(ctx context.Context, fn func(ctx context.Context, v *sqldb.View) error) error {
	for {
		err := s.db.viewOnce(ctx, fn)
		switch {
		case err == nil || ctx.Err() != nil || !errors.Is(err, context.Canceled):
			return err
		case s.ctx.Err() != nil:
			return ErrClosed
		}
	}
}

// viewOnce is one attempt of readAll.
func (d *database) viewOnce(ctx context.Context, fn func(ctx context.Context, v *sqldb.View) error) error {
	d.gate.RLock()
	defer d.gate.RUnlock()
	o := d.ptr.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.ctx, cancel)()
	return o.View(ctx, func(v *sqldb.View) error { return fn(ctx, v) })
}

// end ends what would keep the database from being closed soon: long reads, and
// open snapshots.
func (d *database) end() error {
	o := d.ptr.Load()
	o.cancel()
	return o.EndCopies()
}
