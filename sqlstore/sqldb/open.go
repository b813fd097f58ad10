// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Open opens the database, or creates it if there is no file, and starts its
// writer. Errors wrap ErrNewerSchema, ErrForeignFile or ErrCorrupt where they
// apply; the file is then as it was.
func Open(ctx context.Context, options Options) (*DB, error) {
	o := options.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	created := false
	if _, err := os.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
		if err := create(ctx, o); err != nil {
			return nil, checked(o.Path, "create", err)
		}
		created = true
	} else if err != nil {
		return nil, fileError(o.Path, "open", err)
	}
	r, err := recoverFile(o)
	if err != nil {
		return nil, checked(o.Path, "recover", err)
	}
	db, err := openRecovered(ctx, o, r)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	db.created = created
	go db.write()
	return db, nil
}

// openRecovered opens the connection of the writer and checks what it sees.
func openRecovered(ctx context.Context, o Options, r recovered) (*DB, error) {
	if err := checkHeader(r.file, o.Path); err != nil {
		return nil, err
	}
	w, err := openConn(ctx, o.Path, modeUse, writerPragmas(o)...)
	if err != nil {
		return nil, checked(o.Path, "open", err)
	}
	db := newDB(o, r, w)
	if err := db.prepareToServe(); isSyncFailure(err) {
		return nil, errors.Join(err, db.closeAsIs())
	} else if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return db, nil
}

// prepareToServe checks what SQLite says of the file, the -wal file included, and
// copies that into it.
func (db *DB) prepareToServe() error {
	version, err := db.w.int("PRAGMA user_version")
	if err != nil {
		return checked(db.opts.Path, "open", err)
	}
	if err := checkVersion(db.opts.Path, version); err != nil {
		return err
	}
	if version < SchemaVersion {
		if err := db.w.script(upgradeScript(version)); err != nil {
			return checked(db.opts.Path, "upgrade the schema", err)
		}
	}
	if db.pageSize, err = db.w.int("PRAGMA page_size"); err != nil {
		return checked(db.opts.Path, "open", err)
	}
	state := State{Settings: map[string]Setting{}}
	if err := loadState(db.w, &state); err != nil {
		return checked(db.opts.Path, "open", err)
	}
	db.stats.CommittedIndex, db.stats.CommittedSeq = state.AppliedIndex, state.NextSeq-1
	// A full disk is no reason not to serve reads, but recovery must have ended.
	if err := db.checkpoint(); err != nil && (!isTransient(err) || db.undo.valid) {
		return err
	}
	pages, free, err := db.countPages()
	if err != nil {
		return checked(db.opts.Path, "open", err)
	}
	db.setSizes(pages, free)
	// From now on the writer itself waits for foreign locks, by its own clock.
	return db.w.exec("PRAGMA busy_timeout=0")
}

// create makes the file under another name, complete and synced, and only then
// gives it its own: whoever sees the file sees a whole one.
func create(ctx context.Context, o Options) error {
	tmp := o.Path + ".new"
	for _, name := range []string{tmp, tmp + "-wal", tmp + "-shm", tmp + "-journal",
		o.Path + "-wal", o.Path + "-shm", o.Path + "-journal", undoPath(o.Path)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	c, err := openConn(ctx, tmp, modeCreate,
		"synchronous=FULL",
		fmt.Sprintf("page_size=%d", o.PageSize),
		"auto_vacuum=INCREMENTAL", // counts only before the first table
		fmt.Sprintf("application_id=%d", ApplicationID))
	if err != nil {
		return err
	}
	err = c.script(upgradeScript(0))
	if err == nil {
		err = c.exec("PRAGMA journal_mode=WAL")
	}
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, o.Path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.Path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writerPragmas are for the one connection that writes.
func writerPragmas(o Options) []string {
	return []string{
		"busy_timeout=5000", // another process may be recovering the file
		"journal_mode=WAL",
		"synchronous=NORMAL",
		"wal_autocheckpoint=0",
		fmt.Sprintf("cache_size=-%d", o.CacheBytes>>10),
		"temp_store=MEMORY",
	}
}

// readerPragmas are for the connections that read.
func readerPragmas(o Options) []string {
	return []string{
		"busy_timeout=5000",
		"query_only=1",
		fmt.Sprintf("cache_size=-%d", o.CacheBytes>>10),
		"temp_store=MEMORY",
	}
}
