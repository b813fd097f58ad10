// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Layout of SQLite's -wal file, see https://www.sqlite.org/fileformat.html#walformat.
// All numbers are big-endian.
const (
	walHeaderSize   = 32
	walOffSalt      = 16 // 8 bytes, in the header: the file's generation
	walFrameHeader  = 24
	walFrameOffPage = 0 // in a frame's header: number of the page
	walFrameOffSize = 4 // pages of the database after this commit; 0: not the end of one
	walFrameOffSalt = 8 // equal to the header's in frames of its generation
)

// walContent is what a checkpoint of a -wal file is going to do to the database file.
type walContent struct {
	// pages it may write, by number: those of committed transactions.
	pages map[uint32]bool
	// size in pages that the database has after it.
	size uint32
}

// readWAL reads the frame headers of the -wal file's newest generation. The
// writer must be idle. A missing or empty file has no pages.
func readWAL(path string, pageSize int64) (w walContent, err error) {
	w.pages = map[uint32]bool{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var header [walHeaderSize]byte
	if _, err := f.ReadAt(header[:], 0); errors.Is(err, io.EOF) {
		return w, nil
	} else if err != nil {
		return w, err
	}
	salt := header[walOffSalt : walOffSalt+8]
	var frame [walFrameHeader]byte
	var open []uint32 // pages of a transaction that may have been given up
	for off := int64(walHeaderSize); ; off += walFrameHeader + pageSize {
		if _, err := f.ReadAt(frame[:], off); errors.Is(err, io.EOF) {
			return w, nil
		} else if err != nil {
			return w, err
		}
		if !bytes.Equal(frame[walFrameOffSalt:walFrameOffSalt+8], salt) {
			return w, nil // the rest is an older generation's
		}
		open = append(open, binary.BigEndian.Uint32(frame[walFrameOffPage:]))
		if size := binary.BigEndian.Uint32(frame[walFrameOffSize:]); size > 0 {
			for _, n := range open {
				w.pages[n] = true
			}
			w.size, open = size, open[:0]
		}
	}
}

// freeLeaves returns the pages of the database file that are on its freelist
// and whose content means nothing. db is in a consistent state.
func freeLeaves(db io.ReaderAt, pageSize int64) (map[uint32]bool, error) {
	free := map[uint32]bool{}
	var header [headerSize]byte
	if _, err := db.ReadAt(header[:], 0); err != nil {
		return nil, err
	}
	trunk := binary.BigEndian.Uint32(header[offFirstFree:])
	count := binary.BigEndian.Uint32(header[offFreeCount:])
	page := make([]byte, pageSize)
	for trunk != 0 && uint32(len(free)) <= count {
		if _, err := db.ReadAt(page, int64(trunk-1)*pageSize); err != nil {
			return nil, fmt.Errorf("freelist page %d: %w", trunk, err)
		}
		n := binary.BigEndian.Uint32(page[4:])
		if int64(n) > pageSize/4-2 {
			return nil, fmt.Errorf("%w: freelist page %d says it lists %d pages", ErrCorrupt, trunk, n)
		}
		for i := range n {
			free[binary.BigEndian.Uint32(page[8+4*i:])] = true
		}
		trunk = binary.BigEndian.Uint32(page)
	}
	return free, nil
}
