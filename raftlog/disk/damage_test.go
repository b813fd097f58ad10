// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testIdentity = Identity{MemberID: 0xa1, ClusterID: 0xc1}

// smallSegments makes segments small. Logs of one test process share it.
func smallSegments(t *testing.T, bytes int64) {
	old := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = bytes
	t.Cleanup(func() { wal.SegmentSizeBytes = old })
}

func newWAL(dir string) *WAL {
	return New(Options{WALDir: filepath.Join(dir, "wal"), SnapDir: filepath.Join(dir, "snap"), MaxWALs: 2, MaxSnapshots: 2, UnsafeNoFsync: true})
}

func mustOpen(t *testing.T, dir string, applied uint64) (*WAL, *Recovered) {
	t.Helper()
	w := newWAL(dir)
	rec, err := w.Open(testIdentity, applied)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return w, rec
}

func mustClose(t *testing.T, w *WAL) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func state(term, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(testIdentity.MemberID), Commit: new(commit)}
}

func entry(index uint64, data []byte) *raftpb.Entry {
	return &raftpb.Entry{Term: new(uint64(1)), Index: new(index), Data: data}
}

// randomData is of the kinds that make tears hard to tell: long, short, zeros.
func randomData(rng *rand.Rand) []byte {
	b := make([]byte, []int{1, 30, 200, 700, 3000}[rng.IntN(5)])
	if rng.IntN(4) > 0 {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	return b
}

// fill saves batches of entries as a leader does: each with what the one before committed.
func fill(t *testing.T, w *WAL, rng *rand.Rand, from uint64, batches int) []*raftpb.Entry {
	t.Helper()
	var all []*raftpb.Entry
	next := from
	for range batches {
		var batch []*raftpb.Entry
		for range 1 + rng.IntN(3) {
			batch = append(batch, entry(next, randomData(rng)))
			next++
		}
		if err := w.Save(state(1, batch[0].GetIndex()-1), batch); err != nil {
			t.Fatalf("save: %v", err)
		}
		all = append(all, batch...)
	}
	return all
}

// lastSegment returns the newest file and how much of it is used.
func lastSegment(t *testing.T, dir string) (path string, content []byte, used int64) {
	t.Helper()
	all, err := segments(filepath.Join(dir, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	path = all[len(all)-1].path
	content, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := scanSegment(content)
	if s.fault != nil {
		t.Fatalf("scan %s: %v", path, s.fault)
	}
	return path, content, s.good
}

// begins says whether got begins with all of want.
func begins(got, want []*raftpb.Entry) error {
	for i, e := range want {
		if i >= len(got) {
			return fmt.Errorf("%d entries of %d", len(got), len(want))
		}
		if !proto.Equal(got[i], e) {
			return fmt.Errorf("entry %d differs", e.GetIndex())
		}
	}
	return nil
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Any bit of the used part may flip: the log is refused with the place of the record, or nothing is lost.
func TestFlippedBit(t *testing.T) {
	smallSegments(t, 64<<10)
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(2, seed))
		dir := t.TempDir()
		w, _ := mustOpen(t, dir, 0)
		want := fill(t, w, rng, 1, 8)
		mustClose(t, w)
		path, content, used := lastSegment(t, dir)
		refused := 0
		for at := int64(0); at < used+40; at += 1 + rng.Int64N(3) {
			damaged := bytes.Clone(content)
			damaged[at] ^= 1 << rng.IntN(8)
			write(t, path, damaged)
			w := newWAL(dir)
			rec, err := w.Open(testIdentity, 0)
			var corrupt *CorruptError
			switch {
			case errors.As(err, &corrupt):
				refused++
				if corrupt.Path != path || corrupt.Offset > at+16 || corrupt.Offset < at-4000 {
					t.Fatalf("seed %d: bit at %d flipped: %v", seed, at, err)
				}
				if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
					t.Fatalf("seed %d: bit at %d flipped: the file was changed, %v", seed, at, err)
				}
			case err != nil:
				t.Fatalf("seed %d: bit at %d flipped: %v", seed, at, err)
			default:
				if err := begins(rec.Entries, want); err != nil {
					t.Fatalf("seed %d: bit at %d flipped: lost: %v", seed, at, err)
				}
				mustClose(t, w)
			}
		}
		if refused < int(used)/6 {
			t.Errorf("seed %d: only %d flips in %d bytes were refused", seed, refused, used)
		}
	}
}

// A record's type is not covered by checksums. The last state's, damaged, is noticed all the same: what it says of term
// and vote must not be lost.
func TestFlippedTypeOfLastState(t *testing.T) {
	smallSegments(t, 64<<10)
	for term := uint64(1); term <= 4; term++ {
		dir := t.TempDir()
		w, _ := mustOpen(t, dir, 0)
		for _, s := range []*raftpb.HardState{state(term, 0), {Term: new(term), Vote: new(uint64(2)), Commit: new(uint64(2))}} {
			e := &raftpb.Entry{Term: new(term), Index: new(uint64(1)), Data: []byte("data")}
			if err := w.Save(s, []*raftpb.Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
		mustClose(t, w)
		path, content, _ := lastSegment(t, dir)
		var last int64
		for off := int64(0); ; {
			r, next, err := frameAt(content, off)
			if err != nil || next == 0 {
				break
			}
			if r.kind == recordState {
				last = off
			}
			off = next
		}
		at := last + frameHeaderBytes + 1 // the value of the record's first field
		if content[at] != recordState {
			t.Fatalf("no state's type at %d but %d", at, content[at])
		}
		for bit := byte(1); bit < 128; bit <<= 1 {
			damaged := bytes.Clone(content)
			damaged[at] ^= bit
			write(t, path, damaged)
			var corrupt *CorruptError
			if _, err := newWAL(dir).Open(testIdentity, 0); !errors.As(err, &corrupt) || corrupt.Offset != last {
				t.Errorf("term %d: type %d is taken: %v", term, damaged[at], err)
			}
		}
	}
}

// A crash in the middle of a write leaves any of its sectors: the log opens with all that was saved before.
func TestTornWrite(t *testing.T) {
	smallSegments(t, 64<<10)
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(3, seed))
		dir := t.TempDir()
		w, _ := mustOpen(t, dir, 0)
		want := fill(t, w, rng, 1, 1+rng.IntN(5))
		_, before, saved := lastSegment(t, dir)
		fill(t, w, rng, uint64(len(want))+1, 1) // not acknowledged
		mustClose(t, w)
		path, content, used := lastSegment(t, dir)

		torn := bytes.Clone(content)
		for at := saved - saved%sectorBytes; at < used; at += sectorBytes {
			if rng.IntN(2) == 0 {
				copy(torn[at:at+sectorBytes], before[at:])
			}
		}
		if rng.IntN(3) == 0 { // the file had not grown yet
			torn = torn[:saved+rng.Int64N(used-saved)]
		}
		write(t, path, torn)
		w, rec := mustOpen(t, dir, 0)
		if err := begins(rec.Entries, want); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// It goes on, and what it writes over the torn end can be read.
		n := uint64(len(rec.Entries))
		more := fill(t, w, rng, n+1, 2)
		mustClose(t, w)
		w, rec = mustOpen(t, dir, 0)
		if err := begins(rec.Entries[n:], more); err != nil {
			t.Fatalf("seed %d: after going on: %v", seed, err)
		}
		mustClose(t, w)
	}
}

// Segments that others follow were synced: whatever is wrong in them is damage. Those that aren't needed are not looked at.
func TestDamagedEarlierSegment(t *testing.T) {
	smallSegments(t, 4000)
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(4, 0))
	w, _ := mustOpen(t, dir, 0)
	want := fill(t, w, rng, 1, 40)
	mustClose(t, w)
	all, err := segments(filepath.Join(dir, "wal"))
	if err != nil || len(all) < 5 {
		t.Fatalf("%d segments, %v", len(all), err)
	}
	path := all[2].path
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, firstRecord, err := frameAt(content, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"torn":      func(b []byte) []byte { clear(b[len(b)-len(b)%512-1024:]); return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-700] },
		"emptied":   func(b []byte) []byte { return b[:0] },
		"one left":  func(b []byte) []byte { return b[:firstRecord] },
	} {
		write(t, path, damage(bytes.Clone(content)))
		var corrupt *CorruptError
		if _, err := newWAL(dir).Open(testIdentity, 0); !errors.As(err, &corrupt) || corrupt.Path != path {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, path, content)
	w, rec := mustOpen(t, dir, 0)
	if err := begins(rec.Entries, want); err != nil {
		t.Error(err)
	}
	last := want[len(want)-1].GetIndex()
	mark := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(last), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: []uint64{testIdentity.MemberID}},
	}}
	w.opts.MaxWALs = -1
	if err := w.SaveSnapshot(mark); err != nil {
		t.Fatal(err)
	}
	mustClose(t, w)
	write(t, path, content[:len(content)/2])
	w, rec = mustOpen(t, dir, last)
	if rec.Snapshot.GetIndex() != last || len(rec.Entries) != 0 || rec.Snapshot.GetConfState().GetVoters()[0] != testIdentity.MemberID {
		t.Errorf("opened at %v with %d entries, want %d and none", rec.Snapshot, len(rec.Entries), last)
	}
	mustClose(t, w)
}

func TestMissingSegment(t *testing.T) {
	smallSegments(t, 4000)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	fill(t, w, rand.New(rand.NewPCG(5, 0)), 1, 40)
	mustClose(t, w)
	all, err := segments(filepath.Join(dir, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(all[2].path); err != nil {
		t.Fatal(err)
	}
	var gap *GapError
	if _, err := newWAL(dir).Open(testIdentity, 0); !errors.As(err, &gap) || gap.First != all[3].index {
		t.Errorf("a log with a segment missing: %v, want a gap before %d", err, all[3].index)
	}
}

// A file that was prepared for the next segment and begun when a crash came is not used again.
func TestHalfBegunSegment(t *testing.T) {
	smallSegments(t, 4000)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	want := fill(t, w, rand.New(rand.NewPCG(11, 0)), 1, 3)
	mustClose(t, w)
	for _, name := range []string{"0.tmp", "1.tmp"} {
		write(t, filepath.Join(dir, "wal", name), bytes.Repeat([]byte("stale"), 1000))
	}
	w, _ = mustOpen(t, dir, 0)
	next := uint64(len(want) + 1)
	want = append(want, fill(t, w, rand.New(rand.NewPCG(11, 1)), next, 20)...)
	mustClose(t, w)
	w, rec := mustOpen(t, dir, 0)
	if err := begins(rec.Entries, want); err != nil {
		t.Error(err)
	}
	mustClose(t, w)
}

// A directory with other things in it is not taken for an empty log, which would clear it.
func TestForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	thesis := filepath.Join(dir, "wal", "thesis.tex")
	write(t, thesis, []byte("years of work"))
	if _, err := newWAL(dir).Open(testIdentity, 0); err == nil {
		t.Error("a directory with other files was taken")
	}
	if b, err := os.ReadFile(thesis); err != nil || string(b) != "years of work" {
		t.Errorf("%q, %v", b, err)
	}
}
