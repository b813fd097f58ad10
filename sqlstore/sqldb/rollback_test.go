// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// TestCheckpointAfterARollback: a transaction that outgrew SQLite's cache and was then
// given up has left pages in the -wal file. No checkpoint will copy them, so none saves
// what they would overwrite, let alone the whole database.
func TestCheckpointAfterARollback(t *testing.T) {
	o := testOptions(t)
	o.CacheBytes = 64 << 10
	db := open(t, o)
	must(t, db.Write(batchOf(1, 2000)))
	_, err := db.Persist(t.Context())
	must(t, err)
	err = db.do(t.Context(), func() error {
		if !db.light {
			t.Error("not in light mode")
		}
		givenUp := errors.New("given up")
		err := db.transact(func() error {
			return errors.Join(db.w.exec("UPDATE history SET lease = lease + 1"), givenUp)
		})
		if !errors.Is(err, givenUp) {
			return err
		}
		return nil
	})
	must(t, err)
	wal, err := readWAL(o.Path+"-wal", DefaultPageSize)
	must(t, err)
	if size, err := fileSize(o.Path + "-wal"); err != nil || size == 0 || len(wal.pages) > 0 {
		t.Errorf("%d pages are going to be copied of a -wal file of %d bytes, %v", len(wal.pages), size, err)
	}
	_, err = db.Persist(t.Context())
	must(t, err)
	if size, err := fileSize(undoPath(o.Path)); err != nil || size > 1<<20 {
		t.Errorf("the undo file has %d bytes, %v", size, err)
	}
	must(t, db.Write(batchOf(2001, 100)))
	_, err = db.Persist(t.Context())
	must(t, err)
	must(t, db.Close(t.Context()))
	if got := verify(t, open(t, o), neverDeleted); got != 2100 {
		t.Errorf("applied index %d", got)
	}
}

// TestUnusedDatabaseIsRemoved when Open made it, and only then.
func TestUnusedDatabaseIsRemoved(t *testing.T) {
	o := testOptions(t)
	must(t, open(t, o).Close(t.Context()))
	if _, err := os.Stat(o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a database that nothing was written to is left: %v", err)
	}
	db := open(t, o)
	must(t, db.Write(&Batch{AppliedIndex: 1}))
	must(t, db.Close(t.Context()))
	must(t, open(t, o).Close(t.Context()))
	if state, err := Inspect(t.Context(), o.Path); err != nil || state.AppliedIndex != 1 {
		t.Errorf("%+v, %v", state, err)
	}
}
