// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("can't mount a small file system (it takes root): %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return dir
}

// TestFullDisk fills the disk under a load. Nothing that was enqueued may be lost,
// reads must go on, and all must be well when space returns.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "size=16m")
	var log errorLog
	o := testOptions(t)
	o.Path, o.CheckpointBytes, o.OnError = filepath.Join(dir, "keelson.db"), 1<<20, log.add
	db := open(t, o)
	next := int64(1)
	write := func() {
		must(t, db.Write(batchOf(next, 100)))
		next += 100
	}
	for range 10 {
		write()
	}
	must(t, db.Flush(t.Context()))
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 13<<20), 0o600))
	for db.Stats().Err == nil {
		write()
		if next > 20_000 {
			t.Fatal("the disk is never full")
		}
		// No more than fits on the disk later, however slow the writer is.
		eventually(t, "the rows are committed or refused", func() bool {
			s := db.Stats()
			return s.BacklogRows == 0 || s.Err != nil
		})
	}
	if code := sqliteCode(db.Stats().Err); code != sqlite3.SQLITE_FULL && code != sqlite3.SQLITE_IOERR {
		t.Errorf("the error is %v", db.Stats().Err)
	}
	write()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := db.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || sqliteCode(err) == 0 {
		t.Errorf("flush on a full disk: %v, want the deadline and SQLite's error", err)
	}
	must(t, db.Read(t.Context(), []int64{1, 2, 999}, func(_ int, r Row) error {
		if !sameRow(r, rowAt(r.Seq)) {
			t.Errorf("row %d is not as it was", r.Seq)
		}
		return nil
	}))
	must(t, os.Remove(ballast))
	must(t, db.Flush(t.Context()))
	eventually(t, "the error goes away", func() bool { return db.Stats().Err == nil })
	durable, err := db.Persist(t.Context())
	if err != nil || durable != uint64(next-1) {
		t.Errorf("durable up to %d, %v; want %d", durable, err, next-1)
	}
	verify(t, db, none)
	must(t, db.Close(t.Context()))
	log.alternates(t)
	verify(t, open(t, o), none)
}
