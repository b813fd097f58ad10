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
	// ErrNotFound: a row that was asked for is not there.
	ErrNotFound = errors.New("sqldb: no such row")
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

// isTransient tells errors that may go away without anybody touching the
// database's content: no space, a disk that fails, a foreign lock.
func isTransient(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return true
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
