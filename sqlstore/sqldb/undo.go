// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The undo file holds the pages of the database file that a checkpoint is about
// to overwrite or cut off, as they were. checkpoint.go says why and when.
//
// Layout, big-endian: a header of undoHeaderSize bytes, then for each page its
// number (4 bytes) and content. An invalid header, or a checksum that does not
// fit, is an empty undo file.
//
//	0  magic (8)
//	8  bytes of the database file before the checkpoint (8)
//	16 page size (4)
//	20 number of pages (4)
//	24 boot id of the machine, hexadecimal with dashes, zero-padded (40)
//	64 CRC-32C of the header before this and of all that follows (4)
const (
	undoMagic      = "keelundo"
	undoHeaderSize = 68
	undoOffBytes   = 8
	undoOffPage    = 16
	undoOffCount   = 20
	undoOffBoot    = 24
	undoOffSum     = 64
	undoBootSize   = undoOffSum - undoOffBoot
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// undoPath names the undo file of a database.
func undoPath(db string) string { return db + "-undo" }

// undoFile is the undo file of a database. It is written in place again and again,
// and made when first needed.
type undoFile struct {
	path string
	f    *os.File // nil until there is a file
	// valid: it may hold pages that recovery would put back.
	valid bool
}

// openUndo opens the undo file of the database db if there is one.
func openUndo(db string) (*undoFile, error) {
	u := &undoFile{path: undoPath(db)}
	f, err := os.OpenFile(u.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	u.f = f
	return u, err
}

// create makes the file and its directory entry durable.
func (u *undoFile) create() error {
	f, err := os.OpenFile(u.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(u.path)); err != nil {
		return errors.Join(err, f.Close())
	}
	u.f = f
	return nil
}

// close closes the file and, if recovery does not need it, removes it.
func (u *undoFile) close() error {
	if u.f == nil {
		return nil
	}
	err := u.f.Close()
	if err == nil && !u.valid {
		err = os.Remove(u.path)
	}
	return err
}

// save writes the pages that a checkpoint of wal changes in db, a file in a
// consistent state, and syncs them. After an error nothing relies on it, but it
// has to be cleared all the same before the -wal file is emptied.
func (u *undoFile) save(db *os.File, pageSize int64, wal walContent) error {
	if u.f == nil {
		if err := u.create(); err != nil {
			return err
		}
	}
	info, err := db.Stat()
	if err != nil {
		return err
	}
	pages, err := pagesToSave(db, info.Size(), pageSize, wal)
	if err != nil {
		return err
	}
	header := make([]byte, undoHeaderSize)
	copy(header, undoMagic)
	binary.BigEndian.PutUint64(header[undoOffBytes:], uint64(info.Size()))
	binary.BigEndian.PutUint32(header[undoOffPage:], uint32(pageSize))
	binary.BigEndian.PutUint32(header[undoOffCount:], uint32(len(pages)))
	copy(header[undoOffBoot:undoOffSum], bootID())
	sum := crc32.New(castagnoli)
	sum.Write(header[:undoOffSum])
	if _, err := u.f.Seek(undoHeaderSize, io.SeekStart); err != nil {
		return err
	}
	out := bufio.NewWriterSize(u.f, 1<<18)
	entry := make([]byte, 4+pageSize)
	for _, n := range pages {
		binary.BigEndian.PutUint32(entry, n)
		if _, err := db.ReadAt(entry[4:], int64(n-1)*pageSize); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		sum.Write(entry)
		if _, err := out.Write(entry); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(header[undoOffSum:], sum.Sum32())
	u.valid = true
	if _, err := u.f.WriteAt(header, 0); err != nil {
		return err
	}
	return u.f.Sync()
}

// pagesToSave lists the pages, in ascending order, that are in the file now and
// that the checkpoint overwrites or cuts off. Pages without a meaning are left out.
func pagesToSave(db io.ReaderAt, size, pageSize int64, wal walContent) ([]uint32, error) {
	free, err := freeLeaves(db, pageSize)
	if err != nil {
		return nil, err
	}
	have := uint32(size / pageSize)
	var pages []uint32
	for n := range wal.pages {
		if n <= have && !free[n] {
			pages = append(pages, n)
		}
	}
	for n := wal.size + 1; n <= have; n++ {
		if !wal.pages[n] && !free[n] {
			pages = append(pages, n)
		}
	}
	slices.Sort(pages)
	return pages, nil
}

// clear makes the file empty, durably.
func (u *undoFile) clear() error {
	if _, err := u.f.WriteAt(make([]byte, undoHeaderSize), 0); err != nil {
		return err
	}
	if err := u.f.Sync(); err != nil {
		return err
	}
	u.valid = false
	return nil
}

// undoHeader is a decoded header.
type undoHeader struct {
	bytes, pageSize int64
	count           uint32
	boot            string
}

// readUndo checks the undo file and returns its header; not ok if it is empty.
func readUndo(f io.ReaderAt) (h undoHeader, ok bool, err error) {
	raw := make([]byte, undoHeaderSize)
	if _, err := f.ReadAt(raw, 0); errors.Is(err, io.EOF) {
		return h, false, nil
	} else if err != nil {
		return h, false, err
	}
	if string(raw[:len(undoMagic)]) != undoMagic {
		return h, false, nil
	}
	h = undoHeader{
		bytes:    int64(binary.BigEndian.Uint64(raw[undoOffBytes:])),
		pageSize: int64(binary.BigEndian.Uint32(raw[undoOffPage:])),
		count:    binary.BigEndian.Uint32(raw[undoOffCount:]),
		boot:     strings.TrimRight(string(raw[undoOffBoot:undoOffSum]), "\x00"),
	}
	sum := crc32.New(castagnoli)
	sum.Write(raw[:undoOffSum])
	err = eachUndoPage(f, h, sum, func(uint32, []byte) error { return nil })
	if errors.Is(err, io.EOF) {
		return h, false, nil
	}
	return h, err == nil && sum.Sum32() == binary.BigEndian.Uint32(raw[undoOffSum:]), err
}

// eachUndoPage reads the pages and adds them to sum.
func eachUndoPage(f io.ReaderAt, h undoHeader, sum hash.Hash32, fn func(n uint32, page []byte) error) error {
	if h.pageSize < 512 || h.pageSize > 65536 {
		return io.EOF
	}
	entry := make([]byte, 4+h.pageSize)
	in := bufio.NewReaderSize(io.NewSectionReader(f, undoHeaderSize, int64(h.count)*int64(len(entry))), 1<<18)
	for range h.count {
		if _, err := io.ReadFull(in, entry); errors.Is(err, io.ErrUnexpectedEOF) {
			return io.EOF
		} else if err != nil {
			return err
		}
		sum.Write(entry)
		if err := fn(binary.BigEndian.Uint32(entry), entry[4:]); err != nil {
			return err
		}
	}
	return nil
}

// restore puts the saved pages back into db and cuts it to its former size.
func restore(db *os.File, f io.ReaderAt, h undoHeader) error {
	err := eachUndoPage(f, h, crc32.New(castagnoli), func(n uint32, page []byte) error {
		_, err := db.WriteAt(page, int64(n-1)*h.pageSize)
		return err
	})
	if err != nil {
		return err
	}
	if err := db.Truncate(h.bytes); err != nil {
		return err
	}
	return db.Sync()
}

// bootID returns what the machine calls this run of its kernel, "" if it does not say.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) > undoBootSize {
		return ""
	}
	return strings.TrimSpace(string(id))
}
