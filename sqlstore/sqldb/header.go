// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Offsets in the first 100 bytes of a database file, see
// https://www.sqlite.org/fileformat.html. All numbers are big-endian.
const (
	headerSize       = 100
	headerMagic      = "SQLite format 3\x00"
	offPageSize      = 16 // 2 bytes, 1 stands for 65536
	offChangeCounter = 24
	offPageCount     = 28 // counts only if offValidFor equals offChangeCounter
	offFirstFree     = 32 // number of the first freelist trunk page
	offFreeCount     = 36
	offUserVersion   = 60
	offApplicationID = 68
	offValidFor      = 92
)

// checkHeader looks at the file at path, open as f, before SQLite may touch it:
// opening would change a database that is not ours, and SQLite is slow to say
// that a file is too short.
func checkHeader(f io.ReaderAt, path string) error {
	var h [headerSize]byte
	if n, err := f.ReadAt(h[:], 0); errors.Is(err, io.EOF) {
		return fileError(path, "open", fmt.Errorf("%w: the file has %d bytes, less than a header", ErrCorrupt, n))
	} else if err != nil {
		return fileError(path, "read header", err)
	}
	if string(h[:len(headerMagic)]) != headerMagic {
		return fileError(path, "open", fmt.Errorf("%w: the file does not begin as a SQLite database does", ErrCorrupt))
	}
	number := func(off int) int64 { return int64(binary.BigEndian.Uint32(h[off:])) }
	if id := number(offApplicationID); id != ApplicationID {
		return fileError(path, "open", fmt.Errorf("%w: its application id is %#x, not %#x", ErrForeignFile, id, ApplicationID))
	}
	if err := checkVersion(path, number(offUserVersion)); err != nil {
		return err
	}
	if wal, err := fileSize(path + "-wal"); err != nil {
		return fileError(path, "open", err)
	} else if wal > 0 {
		return nil // the rest of the file may still be there
	}
	pageSize := int64(binary.BigEndian.Uint16(h[offPageSize:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	size, err := fileSize(path)
	if err != nil {
		return fileError(path, "open", err)
	}
	want := number(offPageCount) * pageSize
	if number(offChangeCounter) == number(offValidFor) && size < want {
		return fileError(path, "open", fmt.Errorf("%w: the file has %d bytes and should have %d: it was truncated",
			ErrCorrupt, size, want))
	}
	return nil
}

// checkVersion refuses the schemas that this package can't read.
func checkVersion(path string, version int64) error {
	if version > SchemaVersion {
		return fileError(path, "open", fmt.Errorf("%w: it is %d, the newest known is %d", ErrNewerSchema, version, SchemaVersion))
	}
	if version < 1 {
		return fileError(path, "open", fmt.Errorf("%w: its schema version is %d", ErrForeignFile, version))
	}
	return nil
}

// fileSize returns 0 for a file that does not exist.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
