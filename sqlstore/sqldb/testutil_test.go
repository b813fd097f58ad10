// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// realClock is the system's clock.
type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// testOptions are for a database in a folder of its own.
func testOptions(tb testing.TB) Options {
	return Options{Path: filepath.Join(tb.TempDir(), "keelson.db"), Clock: realClock{}, CommitInterval: -1}
}

// open opens a database that is closed at the end of the test unless the test
// closes it itself.
func open(tb testing.TB, o Options) *DB {
	tb.Helper()
	db, err := Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := db.Close(ctx); err != nil && !isClosed(err) {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

func isClosed(err error) bool { return err == ErrClosed }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// rowAt makes the row with a sequence number. All of it follows from the number, so
// that any test can tell whether a row is as it was written. One in ten is a
// tombstone, one in fifty has an empty value, one in thirty a large one.
func rowAt(seq int64) Row {
	rng := rand.New(rand.NewPCG(uint64(seq), 1))
	r := Row{
		Seq: seq, Revision: seq/2 + 2, Sub: seq % 2,
		Key: fmt.Appendf(nil, "/registry/pods/default/pod-%d", rng.IntN(1000)),
	}
	if rng.IntN(10) == 0 {
		r.Tombstone = true
		return r
	}
	r.CreateRevision, r.Version, r.Lease = r.Revision, 1+rng.Int64N(5), rng.Int64N(3)
	size := rng.IntN(2000)
	switch rng.IntN(30) {
	case 0:
		size = 20_000
	case 1:
		size = 0
	}
	r.Value = bytes.Repeat([]byte{byte(seq)}, size)
	return r
}

// batchOf makes a batch of n rows from sequence number from on, as one entry
// whose index is that of the last row.
func batchOf(from int64, n int) *Batch {
	b := &Batch{}
	for i := range int64(n) {
		b.Rows = append(b.Rows, rowAt(from+i))
	}
	last := b.Rows[n-1]
	b.AppliedIndex, b.AppliedTerm, b.Revision = uint64(last.Seq), 7, last.Revision
	return b
}

// verify checks that the database holds exactly rows 1 to State.NextSeq-1, without
// those that gone says are deleted, and that the applied index belongs to them. It
// returns the index.
func verify(tb testing.TB, db *DB, gone func(seq int64) bool) uint64 {
	tb.Helper()
	ctx := tb.Context()
	state, err := db.LoadState(ctx)
	must(tb, err)
	if got, want := state.AppliedIndex, uint64(state.NextSeq-1); got != want {
		tb.Fatalf("applied index %d with next seq %d", got, state.NextSeq)
	}
	want := int64(1)
	skip := func() {
		for want < state.NextSeq && gone(want) {
			want++
		}
	}
	err = db.Scan(ctx, 1, func(r Row) error {
		if gone(r.Seq) {
			return nil // may or may not be there
		}
		skip()
		if r.Seq != want {
			return fmt.Errorf("row %d follows instead of row %d", r.Seq, want)
		}
		if w := rowAt(want); !sameRow(w, r) {
			return fmt.Errorf("row %d: %s", want, cmp.Diff(w, r))
		}
		want++
		return nil
	})
	must(tb, err)
	if skip(); want != state.NextSeq {
		tb.Fatalf("rows end before %d, next seq is %d", want, state.NextSeq)
	}
	checkIntegrity(tb, db)
	return state.AppliedIndex
}

// sameRow is quicker than cmp.
func sameRow(a, b Row) bool {
	same := bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
	a.Key, a.Value, b.Key, b.Value = nil, nil, nil, nil
	return same && reflect.DeepEqual(a, b)
}

func none(int64) bool { return false }

// checkIntegrity runs SQLite's own check.
func checkIntegrity(tb testing.TB, db *DB) {
	tb.Helper()
	err := db.readers.with(tb.Context(), func(c *conn) error {
		return c.each("PRAGMA integrity_check", func(cols []driver.Value) error {
			if cols[0] != "ok" {
				return fmt.Errorf("integrity check: %v", cols[0])
			}
			return nil
		})
	})
	must(tb, err)
}

// eventually waits until cond holds.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
