// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// tinyDisk mounts a file system of so many bytes, or skips the test.
func tinyDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// hog takes all space of dir but for some bytes.
func hog(t *testing.T, dir string, leave uint64) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "hog")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	if free := s.Bavail * uint64(s.Bsize); free > leave {
		// The log may take some of it meanwhile.
		if _, err := f.Write(make([]byte, free-leave)); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
			t.Error(err)
		}
	}
}

// On a full disk saves fail without counting, whatever they left is taken back, and when there is space they
// succeed again. All that was saved is there in the end.
func TestFullDisk(t *testing.T) {
	smallSegments(t, 64<<10)
	dir := tinyDisk(t, "1m")
	w, _ := mustOpen(t, dir, 0)
	w.opts.MaxWALs = -1
	rng := rand.New(rand.NewPCG(6, 0))
	var want []*raftpb.Entry
	failures := 0
	for round := range 6 {
		release := hog(t, dir, uint64(rng.IntN(3))*4096)
		for failed := false; !failed; {
			next := uint64(len(want) + 1)
			batch := []*raftpb.Entry{entry(next, randomData(rng)), entry(next+1, make([]byte, 9000))}
			hs := state(1+uint64(round), next-1)
			err := w.Save(hs, batch)
			for attempt := 0; err != nil; attempt++ {
				if !errors.Is(err, ErrNotSaved) || !errors.Is(err, syscall.ENOSPC) && attempt == 0 {
					t.Fatalf("round %d: save: %v", round, err)
				}
				if attempt == 3 {
					release()
				}
				failed = true
				failures++
				if err = w.Reopen(); err == nil {
					err = w.Save(hs, batch)
				}
			}
			want = append(want, batch...)
		}
	}
	mustClose(t, w)
	if failures < 12 {
		t.Errorf("only %d saves failed", failures)
	}
	w, rec := mustOpen(t, dir, 0)
	if err := begins(rec.Entries, want); err != nil {
		t.Error(err)
	}
	if len(rec.Entries) != len(want) || rec.HardState.GetTerm() != 6 {
		t.Errorf("%d entries of %d, state %v", len(rec.Entries), len(want), rec.HardState)
	}
	mustClose(t, w)
}

// A snapshot that does not fit is not saved, and the log goes on.
func TestFullDiskSnapshot(t *testing.T) {
	smallSegments(t, 16<<10)
	dir := tinyDisk(t, "200k")
	w, _ := mustOpen(t, dir, 0)
	want := fill(t, w, rand.New(rand.NewPCG(7, 0)), 1, 3)
	last := want[len(want)-1].GetIndex()
	s := &raftpb.Snapshot{Data: make([]byte, 50<<10), Metadata: &raftpb.SnapshotMetadata{
		Index: new(last), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: []uint64{testIdentity.MemberID}},
	}}
	release := hog(t, dir, 0)
	if err := w.SaveSnapshot(s); !errors.Is(err, ErrNotSaved) {
		t.Errorf("snapshot on a full disk: %v", err)
	}
	release()
	if err := w.SaveSnapshot(s); err != nil {
		t.Error(err)
	}
	mustClose(t, w)
	w, rec := mustOpen(t, dir, last)
	if rec.Snapshot.GetIndex() != last {
		t.Errorf("opened at %d, want %d", rec.Snapshot.GetIndex(), last)
	}
	mustClose(t, w)
}

// What a failed save wrote is never taken for saved, even if all of it can be read.
func TestReopenDropsUnsaved(t *testing.T) {
	smallSegments(t, 64<<10)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	want := fill(t, w, rand.New(rand.NewPCG(8, 0)), 1, 4)
	saved := w.saved
	next := uint64(len(want) + 1)
	fill(t, w, rand.New(rand.NewPCG(8, 1)), next, 2)
	if err := w.Save(state(2, next), nil); err != nil {
		t.Fatal(err)
	}
	// As if the last three saves had failed.
	w.saved, w.broken = saved, true
	if err := w.Save(nil, nil); !errors.Is(err, ErrNotSaved) {
		t.Errorf("save before reopening: %v", err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	more := fill(t, w, rand.New(rand.NewPCG(8, 2)), next, 1)
	mustClose(t, w)
	w, rec := mustOpen(t, dir, 0)
	if err := begins(rec.Entries, append(want, more...)); err != nil || len(rec.Entries) != len(want)+len(more) || rec.HardState.GetTerm() != 1 {
		t.Errorf("%d entries, state %v, %v", len(rec.Entries), rec.HardState, err)
	}
	mustClose(t, w)
}

// A log that lost something it had saved is not gone on with.
func TestReopenContradicts(t *testing.T) {
	smallSegments(t, 64<<10)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	fill(t, w, rand.New(rand.NewPCG(9, 0)), 1, 2)
	path, before, _ := lastSegment(t, dir)
	fill(t, w, rand.New(rand.NewPCG(9, 1)), w.saved.index+1, 2)
	w.broken = true
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(before); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err == nil || errors.Is(err, ErrNotSaved) {
		t.Errorf("reopen without what was saved: %v, want a final error", err)
	}
	mustClose(t, w)
}

// After a reopen the next segment still begins with the state, or a later start would not find it.
func TestStateSurvivesReopen(t *testing.T) {
	smallSegments(t, 4000)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	fill(t, w, rand.New(rand.NewPCG(10, 0)), 1, 2)
	last := w.saved.index
	mustClose(t, w)
	w, _ = mustOpen(t, dir, 0)
	for i := range uint64(4) {
		if err := w.Save(nil, []*raftpb.Entry{entry(last+1+i, bytes.Repeat([]byte("x"), 3000))}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, w)
	_, content, _ := lastSegment(t, dir)
	found := false
	for off := int64(0); ; {
		r, end, err := frameAt(content, off)
		if err != nil || end == 0 {
			break
		}
		found = found || r.kind == recordState
		off = end
	}
	if !found {
		t.Error("the last segment has no state")
	}
}
