// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// replaceSegment puts the device at path in the place of the log's open last segment, until heal is called.
func replaceSegment(t *testing.T, dir, device string) (heal func()) {
	t.Helper()
	segment, _, _ := lastSegment(t, dir)
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, name := range names {
		if path, err := os.Readlink(filepath.Join("/proc/self/fd", name.Name())); err == nil && path == segment {
			if at, err = strconv.Atoi(name.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if at < 0 {
		t.Fatalf("%s is not open", segment)
	}
	kept, err := syscall.Dup(at)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Dup3(int(f.Fd()), at, syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(syscall.Dup3(kept, at, syscall.O_CLOEXEC), syscall.Close(kept), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// A sync that failed is final, whoever was told of it and although the next one succeeds: the kernel reports what it
// lost only once.
func TestFailedSyncIsRemembered(t *testing.T) {
	calls := map[string]func(w *WAL) error{
		"Save":         func(w *WAL) error { return w.Save(stateAt(1, 20), entriesOf(1, 21, 22)) },
		"SaveSnapshot": func(w *WAL) error { return w.SaveSnapshot(snapshotAt(15, 1)) },
		"SaveReceived": func(w *WAL) error { return w.SaveReceived(snapshotAt(50, 1), stateAt(1, 50)) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newWAL(dir)
			w.opts.UnsafeNoFsync = false
			if _, err := w.Open(testIdentity, 0); err != nil {
				t.Fatal(err)
			}
			saves(stateAt(1, 20), entriesOf(1, 1, 20))(t, w)
			heal := replaceSegment(t, dir, "/dev/null") // takes all, and cannot be synced
			first := call(w)
			heal()
			if first == nil || errors.Is(first, ErrNotSaved) {
				t.Fatalf("%v, want a final error", first)
			}
			calls["Reopen"] = (*WAL).Reopen
			for later, call := range calls {
				if err := call(w); !errors.Is(err, first) {
					t.Errorf("then %s: %v, want %v", later, err, first)
				}
			}
			delete(calls, "Reopen")
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			w, rec := mustOpen(t, dir, 0)
			if err := begins(rec.Entries, entriesOf(1, 1, 20)); err != nil {
				t.Error(err)
			}
			mustClose(t, w)
		})
	}
}

// unsaved makes the log believe that do failed after all of it was written.
func unsaved(do step) step {
	return func(t *testing.T, w *WAL) {
		saved, max := w.saved, w.opts.MaxWALs
		w.opts.MaxWALs = -1 // only what succeeds lets go of segments
		do(t, w)
		w.saved, w.opts.MaxWALs, w.broken = saved, max, true
		if err := w.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
}

// Records of snapshots that were not saved for certain are taken back like entries.
func TestReopenDropsSnapshots(t *testing.T) {
	founded := saves(stateAt(1, 20), entriesOf(1, 1, 20))
	for name, c := range map[string]struct {
		steps   []step
		newest  uint64
		entries uint64
	}{
		"taken":           {[]step{founded, unsaved(takes(15, 1))}, 0, 20},
		"received":        {[]step{founded, unsaved(receives(50, 1))}, 0, 20},
		"of a later term": {[]step{founded, unsaved(receives(50, 2))}, 0, 20},
		"received again":  {[]step{founded, unsaved(receives(50, 2)), receives(50, 2)}, 50, 0},
		"the log goes on": {[]step{founded, unsaved(receives(50, 2)), saves(stateAt(1, 20), entriesOf(1, 21, 22))}, 0, 22},
		"after one taken": {[]step{founded, takes(15, 1), unsaved(takes(18, 1))}, 15, 5},
	} {
		for _, bytes := range []int64{200, 1 << 20} {
			t.Run(fmt.Sprint(name, " in segments of ", bytes), func(t *testing.T) {
				smallSegments(t, bytes)
				dir := t.TempDir()
				w, _ := mustOpen(t, dir, 0)
				for _, do := range c.steps {
					do(t, w)
				}
				mustClose(t, w)
				newest, _, err := NewestSnapshot(w.opts.WALDir)
				if err != nil || newest != c.newest {
					t.Errorf("newest snapshot: %d, %v, want %d", newest, err, c.newest)
				}
				w, rec := mustOpen(t, dir, c.newest)
				if uint64(len(rec.Entries)) != c.entries {
					t.Errorf("%d entries, want %d", len(rec.Entries), c.entries)
				}
				mustClose(t, w)
			})
		}
	}
}

// A received snapshot that is written whole, but then finds no space for the next segment, is received again.
func TestFullDiskReceived(t *testing.T) {
	smallSegments(t, 16<<10)
	dir := tinyDisk(t, "200k")
	w, _ := mustOpen(t, dir, 0)
	saves(stateAt(1, 0), []*raftpb.Entry{entry(1, make([]byte, 15<<10))})(t, w)
	mustClose(t, w)
	release := hog(t, dir, 12<<10) // less than a segment
	w, _ = mustOpen(t, dir, 0)
	s := snapshotAt(50, 1)
	s.Metadata.ConfState.Voters = make([]uint64, 1000) // so that its record fills the segment
	if err := w.SaveReceived(s, stateAt(1, 50)); !errors.Is(err, ErrNotSaved) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	if index, _, err := NewestSnapshot(w.opts.WALDir); index != 50 || err != nil {
		t.Fatalf("the snapshot is not written whole: %d, %v", index, err)
	}
	release()
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := w.SaveReceived(s, stateAt(1, 50)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, w)
	w, rec := mustOpen(t, dir, 50)
	if rec.Snapshot.GetIndex() != 50 || len(rec.Entries) != 0 {
		t.Errorf("opened at %d with %d entries", rec.Snapshot.GetIndex(), len(rec.Entries))
	}
	mustClose(t, w)
}
