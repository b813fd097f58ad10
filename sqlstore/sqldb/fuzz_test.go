// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// goodFile is a database of one file.
func goodFile(f *testing.F) []byte {
	o := testOptions(f)
	db := open(f, o)
	b := batchOf(1, 40)
	b.Leases = []LeaseChange{{Lease: Lease{ID: -1, TTL: 60, Remaining: 5}}}
	b.Alarms = []AlarmChange{{Alarm: Alarm{MemberID: 1 << 63, Kind: "NOSPACE"}}}
	b.Members = []MemberChange{{Member: Member{ID: 7, JSON: []byte(`{"ID":7}`)}}}
	b.Settings = []Setting{{Name: SettingClusterVersion, Text: "3.7.0"}}
	must(f, db.Write(b))
	must(f, db.Close(context.Background()))
	content, err := os.ReadFile(o.Path)
	must(f, err)
	return content
}

// FuzzDamagedFile changes bytes of a database anywhere: it is refused, or what it then holds can be read.
func FuzzDamagedFile(f *testing.F) {
	good := goodFile(f)
	f.Add(uint32(0), []byte("SQLite format 4"))
	f.Add(uint32(offUserVersion), []byte{0, 0, 0, 99})
	f.Add(uint32(offPageSize), []byte{2, 0})
	f.Add(uint32(offPageCount), []byte{255, 255, 255, 255})
	f.Add(uint32(4096), make([]byte, 200))
	f.Add(uint32(4099), []byte{255, 255})
	f.Add(uint32(len(good)-300), []byte{255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		content := bytes.Clone(good)
		copy(content[int(at)%len(good):], over)
		o := testOptions(t)
		must(t, os.WriteFile(o.Path, content, 0o600))
		_, inspected := Inspect(t.Context(), o.Path)
		_, verified := Verify(t.Context(), o.Path, func(RowMeta) error { return nil })
		if inspected != nil && verified == nil {
			t.Fatalf("verified, but %v", inspected)
		}
		db, err := Open(t.Context(), o)
		if err != nil {
			return
		}
		loaded := db.Load(t.Context(), func([]RowMeta) error { return nil })
		_, state := db.LoadState(t.Context())
		if verified == nil && (loaded != nil || state != nil) {
			t.Fatalf("verified, but %v, %v", loaded, state)
		}
		_ = db.Close(context.Background()) // a damaged page may show only now
	})
}

// FuzzUndo opens a database beside any undo file. The checksum is put right, if fix says so, so that what comes after it
// is reached.
func FuzzUndo(f *testing.F) {
	good := goodFile(f)
	header := make([]byte, undoHeaderSize)
	copy(header, undoMagic)
	binary.BigEndian.PutUint64(header[undoOffBytes:], uint64(len(good)))
	binary.BigEndian.PutUint32(header[undoOffPage:], 4096)
	f.Add(header, true)
	binary.BigEndian.PutUint32(header[undoOffCount:], 1)
	f.Add(append(bytes.Clone(header), append([]byte{0, 0, 0, 1}, good[:4096]...)...), true)
	f.Add(append(bytes.Clone(header), make([]byte, 4100)...), false)
	f.Fuzz(func(t *testing.T, undo []byte, fix bool) {
		if fix && len(undo) >= undoHeaderSize {
			sum := crc32.New(castagnoli)
			sum.Write(undo[:undoOffSum])
			sum.Write(undo[undoHeaderSize:])
			binary.BigEndian.PutUint32(undo[undoOffSum:], sum.Sum32())
		}
		path := filepath.Join(t.TempDir(), "undo")
		must(t, os.WriteFile(path, undo, 0o600))
		file, err := os.Open(path)
		must(t, err)
		_, ok, err := readUndo(file)
		must(t, file.Close())
		if fix || err != nil {
			return // right, but of no real file: nothing is to be put back from it
		}
		o := testOptions(t)
		must(t, os.WriteFile(o.Path, good, 0o600))
		must(t, os.WriteFile(undoPath(o.Path), undo, 0o600))
		db, err := Open(t.Context(), o)
		if err != nil {
			t.Fatalf("an undo file that is void (%v): %v", ok, err)
		}
		verify(t, db, none)
		must(t, db.Close(context.Background()))
	})
}
