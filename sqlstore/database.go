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
	// abandoned is set by a Restore before it abandons the database. over is closed when the Restore has ended.
	abandoned atomic.Bool
	over      chan struct{}
}

// set makes db the open database; long reads of it end with ctx.
func (d *database) set(ctx context.Context, db *sqldb.DB) {
	o := &openDatabase{DB: db, over: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(ctx)
	d.ptr.Store(o)
}

// use hands the database to fn, waiting while it is being replaced. A Restore that comes meanwhile ends what fn waits
// for, and fn is called again, to begin anew. It must be quick, and must not wait for a client.
func (d *database) use(ctx context.Context, fn func(db *sqldb.DB) error) error {
	return d.with(ctx, func(o *openDatabase) error { return fn(o.DB) })
}

// with is use for what has to know what ends long reads.
func (d *database) with(ctx context.Context, fn func(o *openDatabase) error) error {
	for {
		o, err := d.once(fn)
		if !d.replaced(ctx, o, err) {
			return err
		}
	}
}

// replaced tells whether err is of what was under way on a database that a Restore has replaced meanwhile. It waits for
// a Restore to end, and returns false if that fails.
func (d *database) replaced(ctx context.Context, o *openDatabase, err error) bool {
	ended := errors.Is(err, sqldb.ErrClosed) || errors.Is(err, context.Canceled)
	if !ended || ctx.Err() != nil || !o.abandoned.Load() {
		return false
	}
	select {
	case <-o.over:
		return d.ptr.Load() != o
	case <-ctx.Done():
		return false
	}
}

// once is one attempt of with.
func (d *database) once(fn func(o *openDatabase) error) (*openDatabase, error) {
	d.gate.RLock()
	defer d.gate.RUnlock()
	o := d.ptr.Load()
	return o, fn(o)
}

// now returns the database without waiting: for whoever does not run beside
// Restore, and for what a closed one answers too.
func (d *database) now() *sqldb.DB { return d.ptr.Load().DB }

// readAll has fn read a view of the database, which may take its time: a Restore ends
// it, and then fn is called again. Close ends it too.
func (s *Store) readAll(ctx context.Context, fn func(ctx context.Context, v *sqldb.View) error) error {
	err := s.db.with(ctx, func(o *openDatabase) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(o.ctx, cancel)()
		return o.View(ctx, func(v *sqldb.View) error { return fn(ctx, v) })
	})
	if errors.Is(err, context.Canceled) && ctx.Err() == nil && s.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// abandon ends all that goes on with the database, long reads and open snapshots included, so that it can be replaced
// soon. Who is in the middle of something waits until end has been called.
func (d *database) abandon() (end func(), err error) {
	o := d.ptr.Load()
	o.abandoned.Store(true)
	o.cancel()
	return func() { close(o.over) }, o.Abandon()
}
