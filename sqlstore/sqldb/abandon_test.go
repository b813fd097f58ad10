// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// foreignLock has somebody else hold SQLite's write lock: the disk refuses writes, in effect.
func foreignLock(t *testing.T, path string) (release func()) {
	t.Helper()
	other, err := openConn(t.Context(), path, modeUse)
	must(t, err)
	must(t, other.exec("BEGIN IMMEDIATE"))
	return func() {
		t.Helper()
		must(t, errors.Join(other.exec("ROLLBACK"), other.close()))
	}
}

// TestAbandon has a database given up that can't be written, with somebody in each of the calls that wait for that.
func TestAbandon(t *testing.T) {
	o := testOptions(t)
	o.BacklogBytes = 10_000
	db := open(t, o)
	must(t, db.Write(batchOf(1, 10)))
	_, err := db.Persist(t.Context())
	must(t, err)
	must(t, db.Write(batchOf(11, 10)))
	must(t, db.Flush(t.Context()))
	cp, err := db.Copy(t.Context())
	must(t, err)
	release := foreignLock(t, o.Path)
	must(t, db.Write(batchOf(21, 100))) // more than there is room for: the next waits
	ended := make(chan error, 10)
	waiting := []func() error{
		func() error { return db.Write(batchOf(121, 10)) },
		func() error { return db.Flush(context.Background()) },
		func() error { _, err := db.Persist(context.Background()); return err },
		func() error { return db.Delete(context.Background(), []int64{1}) },
		func() error { _, err := db.Copy(context.Background()); return err },
		func() error { _, err := db.SeqOfRevision(context.Background(), 1); return err },
	}
	for _, wait := range waiting {
		go func() { ended <- wait() }()
	}
	eventually(t, "all but Write wait for the backlog", func() bool {
		db.mu.Lock()
		defer db.mu.Unlock()
		return len(db.waiters) == len(waiting)-1
	})
	must(t, db.Abandon())
	for range waiting {
		select {
		case err := <-ended:
			if !errors.Is(err, ErrClosed) {
				t.Errorf("who waited is told %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("somebody waits for an abandoned database")
		}
	}
	if _, err := io.Copy(io.Discard, cp); !errors.Is(err, ErrClosed) {
		t.Errorf("a copy of an abandoned database: %v", err)
	}
	if err := errors.Join(db.Write(batchOf(121, 1)), db.Abandon()); !errors.Is(err, ErrClosed) {
		t.Errorf("after it: %v", err)
	}
	release()
	if got := verify(t, open(t, o), neverDeleted); got != 20 {
		t.Errorf("the state is that of %d", got)
	}
}

// TestAbandonLeavesTheWAL: nothing is copied, and nothing removed.
func TestAbandonLeavesTheWAL(t *testing.T) {
	o := testOptions(t)
	o.CheckpointBytes = 1 << 30
	db := open(t, o)
	must(t, db.Write(batchOf(1, 1000)))
	must(t, db.Flush(t.Context()))
	before := readFiles(t, o.Path)
	must(t, db.Abandon())
	for suffix, content := range readFiles(t, o.Path) {
		if string(content) != string(before[suffix]) {
			t.Errorf("keelson.db%s is not as it was", suffix)
		}
	}
	if got := verify(t, open(t, o), neverDeleted); got != 1000 {
		t.Errorf("the state is that of %d", got)
	}
}

// readFiles returns a database's files by suffix; nil: there is none.
func readFiles(t *testing.T, path string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, s := range suffixes {
		content, err := os.ReadFile(path + s)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		files[s] = content
	}
	return files
}

// TestCloseAfterAFailedSync loses the pages that a checkpoint could not sync, as a kernel does that has failed to
// write them and says so once. What was durable before is in the -wal file only, so closing must leave that.
func TestCloseAfterAFailedSync(t *testing.T) {
	o := testOptions(t)
	o.CheckpointBytes = 1 << 30
	broken, _, err := os.Pipe() // which no system can sync
	must(t, err)
	var db *DB
	fail, failed := false, false
	o.afterStep = func(s step) {
		if fail && s == stepCopied {
			fail, failed = false, true
			must(t, db.file.Close())
			db.file = broken
		}
	}
	db = open(t, o)
	must(t, db.Write(batchOf(1, 500)))
	_, err = db.Persist(t.Context())
	must(t, err)
	reader := holdReader(t, o.Path)
	must(t, db.Write(batchOf(501, 500)))
	durable, err := db.Persist(t.Context())
	must(t, err)
	if durable != 1000 {
		t.Fatalf("durable up to %d", durable)
	}
	before := readFiles(t, o.Path)
	if len(before["-wal"]) == 0 {
		t.Fatal("the -wal file is not what keeps the rows")
	}
	must(t, db.do(t.Context(), func() error { fail = true; return nil }))
	must(t, reader.close())
	if _, err := db.Persist(t.Context()); !isSyncFailure(err) {
		t.Fatalf("persist on a disk that fails: %v", err)
	}
	if err := db.Close(t.Context()); !isSyncFailure(err) || !failed {
		t.Fatalf("close after a failed sync: %v", err)
	}
	left := readFiles(t, o.Path)
	left[""] = before[""] // the kernel has dropped what it was given
	after := o
	after.Path, after.afterStep = filepath.Join(t.TempDir(), "keelson.db"), nil
	for suffix, content := range left {
		if content != nil {
			must(t, os.WriteFile(after.Path+suffix, content, 0o600))
		}
	}
	if got := verify(t, open(t, after), neverDeleted); got < durable {
		t.Errorf("found the state at %d, %d was durable", got, durable)
	}
}

// TestSlowCopyIsEnded: the -wal file is not let grow for ever beside one that takes a little now and then.
func TestSlowCopyIsEnded(t *testing.T) {
	o := testOptions(t)
	o.CheckpointBytes, o.copyWALBytes = 100_000, 1<<20
	db := open(t, o)
	must(t, db.Write(batchOf(1, 100)))
	slow, err := db.Copy(t.Context())
	must(t, err)
	defer slow.Close()
	next := int64(101)
	write := func() {
		must(t, db.Write(batchOf(next, 100)))
		next += 100
		_, err := db.Persist(t.Context())
		must(t, err)
	}
	for err == nil {
		write()
		if db.Stats().WALBytes > 8*o.copyWALBytes {
			t.Fatal("the -wal file has no bound")
		}
		_, err = io.CopyN(io.Discard, slow, 1)
	}
	if !errors.Is(err, ErrCopyTooSlow) {
		t.Errorf("the copy ends with %v", err)
	}
	if _, err := slow.Next(); !errors.Is(err, ErrCopyTooSlow) {
		t.Errorf("its rows end with %v", err)
	}
	write()
	if wal := db.Stats().WALBytes; wal > o.copyWALBytes {
		t.Errorf("the -wal file has %d bytes after it", wal)
	}
	quick, err := db.Copy(t.Context())
	must(t, err)
	if _, err := io.Copy(io.Discard, quick); err != nil {
		t.Errorf("another copy: %v", err)
	}
	must(t, quick.Close())
	verify(t, db, neverDeleted)
}

// TestLongQueryEndsWithItsContext, even if it never comes to its first row.
func TestLongQueryEndsWithItsContext(t *testing.T) {
	db := open(t, testOptions(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := db.readers.with(t.Context(), func(c *conn) error {
		const endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
		return c.eachUntil(ctx, endless, func([]driver.Value) error { return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ends with %v", err)
	}
}
