// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func snapshotAt(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
	}}
}

func stateAt(term, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(uint64(0)), Commit: new(commit)}
}

func entriesOf(term, first, last uint64) []*raftpb.Entry {
	var all []*raftpb.Entry
	for i := first; i <= last; i++ {
		all = append(all, &raftpb.Entry{Index: new(i), Term: new(term), Data: []byte("data")})
	}
	return all
}

// step is something done to a log.
type step func(t *testing.T, w *WAL)

func saves(state *raftpb.HardState, entries []*raftpb.Entry) step {
	return func(t *testing.T, w *WAL) {
		if err := w.Save(state, entries); err != nil {
			t.Fatal(err)
		}
	}
}

func receives(index, term uint64) step {
	return func(t *testing.T, w *WAL) {
		if err := w.SaveReceived(snapshotAt(index, term), stateAt(term, index)); err != nil {
			t.Fatal(err)
		}
	}
}

// receivesHalf is receives cut off by a crash between the record and the state.
func receivesHalf(index, term uint64) step {
	return func(t *testing.T, w *WAL) {
		if err := w.wal.SaveSnapshot(recordOf(snapshotAt(index, term).GetMetadata())); err != nil {
			t.Fatal(err)
		}
	}
}

func takes(index, term uint64) step {
	return func(t *testing.T, w *WAL) {
		if err := w.SaveSnapshot(snapshotAt(index, term)); err != nil {
			t.Fatal(err)
		}
	}
}

func failsToWrite(t *testing.T, w *WAL) {
	w.mu.Lock()
	w.broken = true
	w.mu.Unlock()
	if err := w.Save(nil, entriesOf(9, 1, 1)); !errors.Is(err, ErrNotSaved) {
		t.Fatalf("save: %v, want %v", err, ErrNotSaved)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
}

// A log is opened where a snapshot from another member left it, whatever was there before, unless its record is void.
func TestReceivedSnapshots(t *testing.T) {
	smallSegments(t, 1<<20)
	founded := saves(stateAt(1, 20), entriesOf(1, 1, 20))
	for name, c := range map[string]struct {
		steps       []step
		applied     uint64
		start       uint64   // where it is opened, if want is not an error
		entries     []uint64 // first and last, none if empty
		firstWanted uint64   // of the GapError, if there should be one
		newest      uint64
	}{
		"nothing after it": {
			steps: []step{founded, receives(50, 2)}, applied: 50, start: 50, newest: 50,
		},
		"entries after it": {
			steps:   []step{founded, receives(50, 2), saves(stateAt(2, 50), entriesOf(2, 51, 55))},
			applied: 50, start: 50, entries: []uint64{51, 55}, newest: 50,
		},
		"a machine that is behind it": {
			steps: []step{founded, receives(50, 2)}, applied: 20, firstWanted: 51, newest: 50,
		},
		"a machine that is behind it, and entries after": {
			steps:   []step{founded, receives(50, 2), saves(stateAt(2, 50), entriesOf(2, 51, 55))},
			applied: 20, firstWanted: 51, newest: 50,
		},
		"void": {
			steps: []step{founded, receivesHalf(50, 2)}, applied: 20, entries: []uint64{1, 20},
		},
		"void, and the log reached it later": {
			steps:   []step{founded, receivesHalf(50, 2), saves(stateAt(2, 60), entriesOf(2, 21, 60))},
			applied: 40, entries: []uint64{1, 60},
		},
		"void, then received": {
			steps: []step{founded, receivesHalf(50, 2), receives(50, 2)}, applied: 50, start: 50, newest: 50,
		},
		"over entries of a lost leader": {
			steps:   []step{founded, saves(stateAt(2, 20), entriesOf(2, 21, 80)), receives(50, 3)},
			applied: 50, start: 50, newest: 50,
		},
		"over entries of a lost leader of a later term": {
			steps:   []step{founded, saves(stateAt(4, 20), entriesOf(4, 21, 80)), receives(50, 3)},
			applied: 50, start: 50, newest: 50,
		},
		"over entries of a lost leader, then entries": {
			steps: []step{
				founded, saves(stateAt(2, 20), entriesOf(2, 21, 80)), receives(50, 3),
				saves(stateAt(3, 50), entriesOf(3, 51, 52)),
			},
			applied: 50, start: 50, entries: []uint64{51, 52}, newest: 50,
		},
		"void over entries of a lost leader": {
			steps:   []step{founded, saves(stateAt(2, 20), entriesOf(2, 21, 80)), receivesHalf(50, 3)},
			applied: 20, entries: []uint64{1, 80},
		},
		"one's own, then entries": {
			steps:   []step{founded, takes(15, 1), saves(stateAt(1, 20), entriesOf(1, 21, 30))},
			applied: 15, start: 15, entries: []uint64{16, 30}, newest: 15,
		},
		"one's own, where the entries of a lost leader went further": {
			steps:   []step{founded, saves(stateAt(2, 20), entriesOf(2, 21, 30)), saves(stateAt(3, 22), entriesOf(3, 21, 22)), takes(22, 3)},
			applied: 22, start: 22, newest: 22,
		},
		"one's own before the last, where the entries of a lost leader went further": {
			steps:   []step{founded, saves(stateAt(2, 20), entriesOf(2, 21, 30)), saves(stateAt(3, 22), entriesOf(3, 21, 23)), takes(22, 3)},
			applied: 22, start: 22, entries: []uint64{23, 23}, newest: 22,
		},
		"one's own, the machine's database is an older copy": {
			steps: []step{founded, takes(15, 1)}, applied: 10, entries: []uint64{1, 20}, newest: 15,
		},
		"received, then one's own": {
			steps: []step{
				founded, receives(50, 2), saves(stateAt(2, 60), entriesOf(2, 51, 60)), takes(58, 2),
			},
			applied: 58, start: 58, entries: []uint64{59, 60}, newest: 58,
		},
		"received, then one's own, a machine between": {
			steps: []step{
				founded, receives(50, 2), saves(stateAt(2, 60), entriesOf(2, 51, 60)), takes(58, 2),
			},
			applied: 55, start: 50, entries: []uint64{51, 60}, newest: 58,
		},
		"twice": {
			steps:   []step{founded, receives(50, 2), saves(stateAt(2, 51), entriesOf(2, 51, 51)), receives(90, 3)},
			applied: 90, start: 90, newest: 90,
		},
		"then a failed write": {
			steps: []step{
				founded, saves(stateAt(2, 20), entriesOf(2, 21, 80)), receives(50, 3), failsToWrite,
				saves(stateAt(3, 50), entriesOf(3, 51, 52)),
			},
			applied: 50, start: 50, entries: []uint64{51, 52}, newest: 50,
		},
		"after a failed write": {
			steps:   []step{founded, failsToWrite, receives(50, 3), failsToWrite},
			applied: 50, start: 50, newest: 50,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newWAL(dir)
			if _, err := w.Open(testIdentity, 0); err != nil {
				t.Fatal(err)
			}
			for _, do := range c.steps {
				do(t, w)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			newest, ok, err := NewestSnapshot(w.opts.WALDir)
			if err != nil || newest != c.newest || ok != (c.newest > 0) {
				t.Errorf("newest snapshot: %d, %v, %v, want %d", newest, ok, err, c.newest)
			}
			w = newWAL(dir)
			rec, err := w.Open(testIdentity, c.applied)
			if c.firstWanted != 0 {
				var gap *GapError
				if !errors.As(err, &gap) || gap.First != c.firstWanted || gap.Applied != c.applied {
					t.Errorf("open: %v, want a gap before %d", err, c.firstWanted)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			var got []uint64
			if n := len(rec.Entries); n > 0 {
				got = []uint64{rec.Entries[0].GetIndex(), rec.Entries[n-1].GetIndex()}
			}
			if rec.Snapshot.GetIndex() != c.start || !slices.Equal(got, c.entries) {
				t.Errorf("opened at %d with entries %v, want %d and %v", rec.Snapshot.GetIndex(), got, c.start, c.entries)
			}
		})
	}
}

// No log has no snapshot.
func TestNewestSnapshotOfNothing(t *testing.T) {
	w := newWAL(t.TempDir())
	if _, ok, err := NewestSnapshot(w.opts.WALDir); ok || err != nil {
		t.Errorf("of no directory: %v, %v", ok, err)
	}
	if _, err := w.Open(testIdentity, 0); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, ok, err := NewestSnapshot(w.opts.WALDir); ok || err != nil {
		t.Errorf("of a new log: %v, %v", ok, err)
	}
}

// Two snapshots in a row, the first of an entry in an older segment, leave all entries after the second where they are.
func TestSnapshotsOfOlderSegments(t *testing.T) {
	smallSegments(t, 400)
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, 0)
	for _, do := range []step{
		saves(stateAt(1, 20), entriesOf(1, 1, 20)), saves(stateAt(1, 20), entriesOf(1, 21, 21)), // and a segment is full
		saves(stateAt(1, 24), entriesOf(1, 22, 26)), takes(15, 1), takes(23, 1),
	} {
		do(t, w)
	}
	mustClose(t, w)
	w, rec := mustOpen(t, dir, 23)
	if at, n := rec.Snapshot.GetIndex(), len(rec.Entries); at != 23 || n != 3 {
		t.Errorf("opened at %d with %d entries, want 23 and 3", at, n)
	}
	mustClose(t, w)
}
