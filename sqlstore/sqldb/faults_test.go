// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// errorLog collects what OnError is told.
type errorLog struct {
	mu   sync.Mutex
	told []error
}

func (l *errorLog) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, err)
}

// alternates checks that failures and recoveries follow each other, and that it
// ended with a recovery.
func (l *errorLog) alternates(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.told) == 0 || len(l.told)%2 != 0 {
		t.Errorf("OnError was told %v", l.told)
	}
	for i, err := range l.told {
		if (err == nil) != (i%2 == 1) {
			t.Errorf("OnError was told %v", l.told)
		}
	}
}

// TestForeignLock has somebody else take SQLite's write lock, which only delays us.
func TestForeignLock(t *testing.T) {
	var log errorLog
	o := testOptions(t)
	o.OnError = log.add
	db := open(t, o)
	other, err := openConn(t.Context(), o.Path, modeUse)
	must(t, err)
	must(t, other.exec("BEGIN IMMEDIATE"))
	must(t, db.Write(batchOf(1, 10)))
	eventually(t, "the lock is noticed", func() bool { return sqliteCode(db.Stats().Err) == sqlite3.SQLITE_BUSY })
	must(t, other.exec("ROLLBACK"))
	must(t, db.Flush(t.Context()))
	must(t, other.close())
	eventually(t, "the error goes away", func() bool { return db.Stats().Err == nil })
	verify(t, db, none)
	must(t, db.Close(t.Context()))
	log.alternates(t)
}

// TestBacklogBound wants Write to wait while the writer can't, and Close to give
// up by its context, with nothing half committed.
func TestBacklogBound(t *testing.T) {
	o := testOptions(t)
	o.BacklogBytes = 100_000
	db := open(t, o)
	other, err := openConn(t.Context(), o.Path, modeUse)
	must(t, err)
	must(t, other.exec("BEGIN IMMEDIATE"))
	done := make(chan error, 1)
	go func() {
		for seq := int64(1); ; seq += 10 {
			if err := db.Write(batchOf(seq, 10)); err != nil {
				done <- err
				return
			}
		}
	}()
	// The last batch may be a large one, so the backlog stops below the bound.
	eventually(t, "the backlog is full", func() bool { return db.Stats().BacklogBytes > o.BacklogBytes/4 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- db.Close(ctx) }()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("write while closing: %v", err)
	}
	if size := db.Stats().BacklogBytes; size > o.BacklogBytes {
		t.Errorf("the backlog grew to %d bytes with a bound of %d", size, o.BacklogBytes)
	}
	if err := <-closed; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	must(t, other.exec("ROLLBACK"))
	must(t, other.close())
	again := open(t, o)
	if applied := verify(t, again, none); applied != 0 {
		t.Errorf("found the state at %d", applied)
	}
}

// TestWriterEnds wants an error that no retry can mend to end the writer, and to be
// what everybody is told from then on. What was committed before stays.
func TestWriterEnds(t *testing.T) {
	o := testOptions(t)
	db := open(t, o)
	must(t, db.Write(batchOf(1, 10)))
	must(t, db.Flush(t.Context()))
	must(t, db.Write(batchOf(5, 10))) // rows 5 to 10 once more
	if err := db.Flush(t.Context()); sqliteCode(err) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("flush: %v", err)
	}
	if err := db.Write(batchOf(11, 1)); sqliteCode(err) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("write: %v", err)
	}
	if _, err := db.Persist(t.Context()); sqliteCode(err) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("persist: %v", err)
	}
	if err := db.Close(t.Context()); sqliteCode(err) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("close: %v", err)
	}
	if applied := verify(t, open(t, o), none); applied != 10 {
		t.Errorf("found the state at %d", applied)
	}
}

// TestCloseIsClean wants one file left, holding everything, and refusals after.
func TestCloseIsClean(t *testing.T) {
	o := testOptions(t)
	o.CommitInterval = time.Hour
	db := open(t, o)
	must(t, db.Write(batchOf(1, 1000)))
	must(t, db.Close(t.Context()))
	for _, err := range []error{
		db.Write(batchOf(1001, 1)), db.Close(t.Context()), db.Delete(t.Context(), []int64{1}),
		db.Scan(t.Context(), 1, func(Row) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
	files, err := os.ReadDir(filepath.Dir(o.Path))
	must(t, err)
	if len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if db = open(t, o); db.Created() || verify(t, db, none) != 1000 {
		t.Error("the database does not hold what was enqueued")
	}
}

// TestOptionsAreChecked wants all faults of options named at once.
func TestOptionsAreChecked(t *testing.T) {
	_, err := Open(t.Context(), Options{PageSize: 1000, VacuumPercent: 200})
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) || len(all.Unwrap()) != 4 {
		t.Errorf("open: %v", err)
	}
}
