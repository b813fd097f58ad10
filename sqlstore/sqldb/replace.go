// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// modeImmutable opens a file that nobody changes: SQLite then makes no files
// beside it, takes no locks, and ignores a -wal file.
const modeImmutable accessMode = "ro&immutable=1"

// Inspect returns what the file of a Copy, or of a database that was closed clean,
// holds besides rows. It changes nothing and makes no files. Its errors are those
// of Open, and fs.ErrNotExist.
func Inspect(ctx context.Context, path string) (State, error) {
	state := State{Settings: map[string]Setting{}}
	err := examine(ctx, path, func(c *conn) error { return loadState(c, &state) })
	return state, err
}

// Verify tells whether the file of a Copy is whole: its header and size, that
// SQLite finds every page where it should be and every row readable, and that
// Load would deliver the rows, which it hands to fn. It reads the whole
// file. What it can't see is a changed byte within a key or a value: SQLite's
// pages carry no checksums, and what compares members' histories finds that.
func Verify(ctx context.Context, path string, fn func(r RowMeta) error) (State, error) {
	state := State{Settings: map[string]Setting{}}
	err := examine(ctx, path, func(c *conn) error {
		if err := loadState(c, &state); err != nil {
			return err
		}
		if err := quickCheck(ctx, c); err != nil {
			return err
		}
		return c.each(loadQuery, func(cols []driver.Value) error {
			r, err := metaOf(cols)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			return fn(r)
		}, int64(math.MinInt64), int64(math.MaxInt64))
	})
	return state, err
}

// AppliedIndex recovers the database at path as Open does and returns the last entry that is in it. Nobody in this
// process may have it open. Errors are those of Open, and fs.ErrNotExist.
func AppliedIndex(ctx context.Context, path string) (index uint64, err error) {
	r, err := recoverFile(Options{Path: path}.withDefaults())
	if err != nil {
		return 0, checked(path, "recover", err)
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := checkHeader(r.file, path); err != nil {
		return 0, err
	}
	c, err := openConn(ctx, path, modeUse, "busy_timeout=5000")
	if err != nil {
		return 0, checked(path, "open", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	state := State{Settings: map[string]Setting{}}
	err = checked(path, "open", loadState(c, &state))
	return state.AppliedIndex, err
}

// quickCheck has SQLite walk through all pages and rows.
func quickCheck(ctx context.Context, c *conn) error {
	return c.eachUntil(ctx, "PRAGMA quick_check(1)", func(cols []driver.Value) error {
		if says, _ := cols[0].(string); says != "ok" {
			return fmt.Errorf("%w: %s", ErrCorrupt, says)
		}
		return nil
	})
}

// examine opens a file that nobody else changes and hands it to fn.
func examine(ctx context.Context, path string, fn func(c *conn) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fileError(path, "open", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkHeader(f, path); err != nil {
		return err
	}
	c, err := openConn(ctx, path, modeImmutable, "temp_store=MEMORY")
	if err != nil {
		return checked(path, "open", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := checkSize(c, path); err != nil {
		return err
	}
	return checked(path, "verify", fn(c))
}

// checkSize compares the file's size with what its header says.
func checkSize(c *conn, path string) error {
	pages, err := c.int("PRAGMA page_count")
	if err != nil {
		return checked(path, "verify", err)
	}
	size, err := c.int("PRAGMA page_size")
	if err != nil {
		return checked(path, "verify", err)
	}
	have, err := fileSize(path)
	if err != nil {
		return err
	}
	if have != pages*size {
		return fileError(path, "verify", fmt.Errorf("%w: the file has %d bytes and should have %d", ErrCorrupt, have, pages*size))
	}
	return nil
}

// replaceStep names what Replace has just done.
type replaceStep string

const (
	replaceSynced  replaceStep = "new file synced"
	replaceCleared replaceStep = "files beside the old database removed"
	replaceRenamed replaceStep = "new file renamed"
)

// Replace puts the file of a Copy, which is verified, in the place of the database
// at path, which nobody in this process has open. Without such a file it does
// nothing, so that a call that was cut short, at whatever step, is finished by
// another. Until it is, the old database may not be opened: the first thing to go
// is what would have recovered it. Both must be on one file system.
func Replace(path, file string) error {
	return replaceWith(path, file, func(replaceStep) error { return nil })
}

// replaceWith is Replace; after's error ends it as a crash would.
func replaceWith(path, file string, after func(replaceStep) error) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fileError(path, "replace", err)
	}
	steps := []struct {
		name replaceStep
		run  func() error
	}{
		{replaceSynced, func() error { return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(file))) }},
		// SQLite would take an old -wal file for one of the new database.
		{replaceCleared, func() error { return removeBeside(path) }},
		{replaceRenamed, func() error { return moveOver(path, file) }},
	}
	for _, s := range steps {
		if err := errors.Join(s.run(), after(s.name)); err != nil {
			return fileError(path, "replace", err)
		}
	}
	return nil
}

// removeBeside durably removes the files that belong to the database at path.
func removeBeside(path string) error {
	for _, name := range []string{path + "-wal", path + "-shm", path + "-journal", undoPath(path)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// moveOver durably renames file to path.
func moveOver(path, file string) error {
	if err := os.Rename(file, path); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(path)), syncDir(filepath.Dir(file)))
}
