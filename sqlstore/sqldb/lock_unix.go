// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sqldb

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// The bytes of a database file that SQLite's connections lock, see "Locking" in
// https://www.sqlite.org/lockingv3.html: every connection to a database in WAL
// mode holds a read lock on some of them as long as it is open.
const (
	lockBytesStart = 0x40000000
	lockBytesSize  = 512
)

// lockAlone keeps every other process from opening the database, and reports
// whether it could: not if one has it open.
func lockAlone(f *os.File) (bool, error) {
	err := setLock(f, syscall.F_WRLCK)
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EAGAIN) {
		return false, nil
	}
	return err == nil, err
}

// unlock ends what lockAlone began.
func unlock(f *os.File) error { return setLock(f, syscall.F_UNLCK) }

func setLock(f *os.File, kind int16) error {
	return syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{
		Type: kind, Whence: io.SeekStart, Start: lockBytesStart, Len: lockBytesSize,
	})
}
