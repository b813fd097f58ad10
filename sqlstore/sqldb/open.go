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
	if err := checkHeader(o.Path); err != nil {
		return nil, err
	}
	w, err := openConn(ctx, o.Path, modeUse, writerPragmas(o)...)
	if err != nil {
		return nil, checked(o.Path, "open", err)
	}
	db := newDB(o, w, created)
	if err := db.prepareToServe(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	go db.write()
	return db, nil
}

// create makes the file under another name, complete and synced, and only then
// gives it its own: whoever sees the file sees a whole one.
func create(ctx context.Context, o Options) error {
	tmp := o.Path + ".new"
	for _, name := range []string{tmp, tmp + "-wal", tmp + "-shm", tmp + "-journal",
		o.Path + "-wal", o.Path + "-shm", o.Path + "-journal"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	c, err := openConn(ctx, tmp, modeCreate,
		"synchronous=FULL",
		fmt.Sprintf("page_size=%d", o.PageSize),
		"auto_vacuum=INCREMENTAL", // counts only before the first table
		fmt.Sprintf("application_id=%d", ApplicationID),
		fmt.Sprintf("user_version=%d", SchemaVersion))
	if err != nil {
		return err
	}
	err = c.script("BEGIN;\n" + schemaSQL + "\nCOMMIT;")
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

// writerPragmas are for the one connection that writes. Its waits for a foreign
// lock are the writer's own retries, so SQLite itself never waits.
func writerPragmas(o Options) []string {
	return []string{
		"busy_timeout=5000", // others may be recovering the file; the writer sets 0 later
		"journal_mode=WAL",
		"synchronous=NORMAL",
		"wal_autocheckpoint=0",
		fmt.Sprintf("journal_size_limit=%d", 2*o.CheckpointBytes),
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
