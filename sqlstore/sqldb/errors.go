// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"fmt"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Why a database can't be opened or used. Errors of this package wrap them and
// name the file.
var (
	// ErrNewerSchema: the file was written by a newer version of keelson.
	ErrNewerSchema = errors.New("schema is newer than this version of keelson knows")
	// ErrForeignFile: the file is a SQLite database, but not one of keelson's.
	ErrForeignFile = errors.New("not a keelson database")
	// ErrCorrupt: the file is truncated or damaged, or is no SQLite database.
	ErrCorrupt = errors.New("database is damaged")
	// ErrClosed: the DB is closed, or is being closed.
	ErrClosed = errors.New("sqldb: closed")
	// ErrCopyTooSlow: a Copy was ended because the -wal file, which has to be kept for it, grew too large.
	ErrCopyTooSlow = errors.New("the copy was read too slowly: the -wal file outgrew its bound")
	// ErrInUse: the file needs recovery, and another process has it open.
	ErrInUse = errors.New("another process has the database open, and it needs recovery first")
)

// fileError says what failed with which file.
func fileError(path, what string, err error) error {
	return fmt.Errorf("sqldb: %s: %s: %w", path, what, err)
}

// sqliteCode returns SQLite's primary result code of err, and 0 if it has none.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// isDamage tells errors that mean that the file's content is not what SQLite wrote.
func isDamage(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// errUnsynced: the disk failed to take what it had been given, and the kernel may
// have dropped it.
var errUnsynced = errors.New("could not be synced: what is on disk is not known")

// unsynced marks the error of a sync.
func unsynced(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUnsynced, err)
}

// isSyncFailure tells failed syncs, ours and SQLite's.
func isSyncFailure(err error) bool {
	var e *sqlite.Error
	return errors.Is(err, errUnsynced) || errors.As(err, &e) && e.Code() == sqlite3.SQLITE_IOERR_FSYNC
}

// isTransient tells errors that may go away without anybody touching the
// database's content: no space, a disk that fails, a foreign lock.
func isTransient(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return !isSyncFailure(err)
	}
	return false
}

// checked wraps an error of SQLite with the file's name, as damage if it is that.
func checked(path, what string, err error) error {
	if err == nil {
		return nil
	}
	if isDamage(err) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fileError(path, what, err)
}
