// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// fuzzSegments makes segments of a page, so that opening a log takes little.
func fuzzSegments(f *testing.F) {
	old := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = 4 << 10
	f.Cleanup(func() { wal.SegmentSizeBytes = old })
}

// openFuzzed opens a log of one segment. What it reads must be read again after Close, whatever it was.
func openFuzzed(t *testing.T, content []byte, applied uint64) (*Recovered, error) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wal", fmt.Sprintf("%016x-%016x.wal", 0, 0))
	write(t, path, content)
	w := newWAL(dir)
	rec, err := w.Open(Identity{}, applied)
	if err != nil {
		return nil, err
	}
	mustClose(t, w)
	w = newWAL(dir)
	again, err := w.Open(rec.Identity, applied)
	if err != nil {
		t.Fatalf("opened once: %v", err)
	}
	mustClose(t, w)
	if err := begins(again.Entries, rec.Entries); err != nil || len(again.Entries) != len(rec.Entries) {
		t.Fatalf("%d entries, %d when opened again: %v", len(rec.Entries), len(again.Entries), err)
	}
	return rec, nil
}

// FuzzSegment opens any bytes as a log.
func FuzzSegment(f *testing.F) {
	fuzzSegments(f)
	good, _ := goodSegment(f)
	f.Add(good, uint64(0))
	f.Add(good[:len(good)/2], uint64(2))
	f.Add([]byte(nil), uint64(0))
	f.Fuzz(func(t *testing.T, content []byte, applied uint64) {
		_, _ = openFuzzed(t, content, applied) // an error is as good
	})
}

// FuzzDamagedSegment changes a good log in one place: it is refused, or all comes out but what a torn write at its
// end can have held.
func FuzzDamagedSegment(f *testing.F) {
	fuzzSegments(f)
	good, want := goodSegment(f)
	f.Add(uint16(100), []byte{0}, false)
	f.Add(uint16(600), make([]byte, sectorBytes), false)
	f.Add(uint16(1500), []byte(nil), true)
	f.Fuzz(func(t *testing.T, at uint16, over []byte, cut bool) {
		content, off := bytes.Clone(good), int(at)%len(good)
		copy(content[off:], over)
		if cut {
			content = content[:off]
		}
		rec, err := openFuzzed(t, content, 0)
		if err != nil {
			return
		}
		if err := begins(want, rec.Entries); err != nil {
			t.Fatalf("entries that were never written: %v", err)
		}
		if rec.HardState.GetCommit() > uint64(len(rec.Entries)) {
			t.Fatalf("entries up to %d are committed, and %d are left", rec.HardState.GetCommit(), len(rec.Entries))
		}
	})
}

// goodSegment returns the content of a log and its entries.
func goodSegment(f *testing.F) ([]byte, []*raftpb.Entry) {
	dir := f.TempDir()
	w := newWAL(dir)
	if _, err := w.Open(testIdentity, 0); err != nil {
		f.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var all []*raftpb.Entry
	for i := range uint64(6) {
		data := make([]byte, 20+rng.IntN(300))
		for at := range data {
			data[at] = byte(rng.Uint32())
		}
		batch := []*raftpb.Entry{entry(i+1, data)}
		if err := w.Save(state(1, i), batch); err != nil {
			f.Fatal(err)
		}
		all = append(all, batch...)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	segment, err := segments(filepath.Join(dir, "wal"))
	if err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(segment[0].path)
	if err != nil {
		f.Fatal(err)
	}
	return content[:scanSegment(content).good+64], all
}

// FuzzRecords opens a log of records with right checksums and any content: what it may hold is for etcd's package, which
// ends the process on some, to read only after this one has looked. The script is a record after the other: its type, its
// length, its content.
func FuzzRecords(f *testing.F) {
	fuzzSegments(f)
	for _, script := range recordScripts(f) {
		f.Add(script, uint64(0))
		f.Add(script, uint64(5))
	}
	f.Fuzz(func(t *testing.T, script []byte, applied uint64) {
		_, _ = openFuzzed(t, framed(script), applied) // an error is as good
	})
}

// framed makes a segment of a script.
func framed(script []byte) []byte {
	var segment []byte
	var crc uint32
	for len(script) > 1 {
		kind, data := uint64(script[0]), []byte(nil)
		var n int
		if data, n = protowire.ConsumeBytes(script[1:]); n < 0 {
			break
		}
		script = script[1+n:]
		crc = crc32.Update(crc, castagnoli, data)
		record := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
		record = protowire.AppendVarint(protowire.AppendTag(record, 2, protowire.VarintType), uint64(crc))
		if len(data) > 0 || kind != recordCRC {
			record = protowire.AppendBytes(protowire.AppendTag(record, 3, protowire.BytesType), data)
		}
		header := frameHeader(int64(len(record)))
		segment = binary.LittleEndian.AppendUint64(segment, header)
		segment = append(segment, record...)
		_, padding := frameExtent(header)
		segment = append(segment, make([]byte, padding)...)
	}
	return append(segment, make([]byte, 64)...)
}

// recordScripts are a good log's records, all and without some.
func recordScripts(f *testing.F) [][]byte {
	content, _ := goodSegment(f)
	var records [][]byte
	for off := int64(0); ; {
		r, end, err := frameAt(content, off)
		if err != nil || end == 0 {
			break
		}
		records = append(records, protowire.AppendBytes([]byte{byte(r.kind)}, r.data))
		off = end
	}
	snapshot := protowire.AppendBytes([]byte{recordSnapshot}, []byte{8, 9, 16, 1, 26, 2, 8, 1}) // entry 9, voter 1
	return [][]byte{
		bytes.Join(records, nil),
		bytes.Join(records[:3], nil),
		bytes.Join(append(records[:5:5], snapshot), nil),
		bytes.Join(append(records[:2:2], snapshot, records[len(records)-1]), nil),
	}
}
