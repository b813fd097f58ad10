// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"keelson.io/keelson/sqlstore/sqldb"
)

// refuseWrites has somebody hold SQLite's write lock, until release: what a store sees of a disk that refuses writes
// is the same. It is to be released when the store is closed, since SQLite removes a -wal file by its name.
func (f *fixture) refuseWrites() (release func()) {
	f.t.Helper()
	ctx := context.Background()
	db, err := sql.Open("sqlite", f.opts.DB.Path)
	if err != nil {
		f.t.Fatal(err)
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return func() {
		f.t.Helper()
		if err := errors.Join(conn.Close(), db.Close()); err != nil {
			f.t.Error(err)
		}
	}
}

// within fails the test if run takes too long.
func within[T any](t *testing.T, what string, run func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- run() }()
	select {
	case v := <-done:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
		panic("unreachable")
	}
}

// until waits until cond holds.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestRestoreOverADiskThatRefusesWrites: the old database's backlog is of no use any more. Those who wait for it get
// what they asked for from the new one.
func TestRestoreOverADiskThatRefusesWrites(t *testing.T) {
	p := newPair(t, func(o *Options) { o.CacheBytes = 1 })
	for i := range 20 {
		p.both(put(fmt.Sprintf("k%d", i), "1"))
	}
	for i := range 20 {
		p.must(put(fmt.Sprintf("k%d", i), "2"))
	}
	index := p.save(p.file)
	release := p.behind.refuseWrites()
	defer release()
	p.behind.must(put("k0", "2"))
	p.behind.must(compactAt(5)) // the compactor waits, too
	opened := make(chan error, 1)
	go func() {
		snap, err := p.behind.store.OpenSnapshot(context.Background())
		if err == nil && snap.Index != index {
			err = fmt.Errorf("the snapshot is of %d, not of %d", snap.Index, index)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, snap.Body)
			err = errors.Join(err, snap.Body.Close())
		}
		opened <- err
	}()
	hashed := make(chan error, 1)
	go func() {
		_, err := p.behind.store.HashKV(context.Background(), 0)
		hashed <- err
	}()
	until(t, "the disk refuses writes", func() bool { return p.behind.store.Stats().DB.Err != nil })
	err := within(t, "a restore", func() error { return p.behind.store.Restore(context.Background(), p.file) })
	if err != nil {
		t.Fatal(err)
	}
	for what, done := range map[string]chan error{"snapshot": opened, "hash": hashed} {
		if err := within(t, what, func() error { return <-done }); err != nil {
			t.Errorf("%s over a restore: %v", what, err)
		}
	}
	p.behind.index = index
	p.same()
	if err := p.behind.store.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestCloseOnADiskThatRefusesWrites: it keeps to its context, whoever waits for what.
func TestCloseOnADiskThatRefusesWrites(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.DB.BacklogBytes = 20_000 })
	release := f.refuseWrites()
	defer release()
	f.must(put("k", "1"))
	f.must(put("k", "2"))
	f.must(compactAt(3))
	applied := make(chan error, 1)
	large := string(make([]byte, 15_000))
	entries := []Entry{f.entry(put("k", large)), f.entry(put("k", large))}
	go func() {
		for i := range entries {
			if _, err := f.store.Apply(entries[i : i+1]); err != nil {
				applied <- err
				return
			}
		}
	}()
	until(t, "Apply waits for room", func() bool {
		if f.store.Stats().DB.BacklogBytes < 15_000 {
			return false
		}
		free := f.store.mu.TryLock()
		if free {
			f.store.mu.Unlock()
		}
		return !free
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := within(t, "close", func() error { return f.store.Close(ctx) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	if err := within(t, "apply", func() error { return <-applied }); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("apply beside close: %v", err)
	}
}
