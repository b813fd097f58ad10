// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// histories is how many random histories of a log are tried.
var histories = flag.Uint64("histories", 20, "random histories of a log to try")

// expected is what a log is to hold.
type expected struct {
	rng          *rand.Rand
	base         uint64          // index of the last snapshot that was received; the log begins after it
	entries      []*raftpb.Entry // after base
	term, commit uint64
	start        uint64 // index of the newest snapshot
}

func (e *expected) last() uint64 { return e.base + uint64(len(e.entries)) }

// save appends entries, which may replace some that are not committed, and may commit and begin a term.
func (e *expected) save(t *testing.T, w *WAL) {
	if e.rng.IntN(4) == 0 {
		e.term++
	}
	from := e.commit + uint64(e.rng.IntN(int(e.last()-e.commit)+1))
	batch := entriesOf(e.term, from+1, from+1+uint64(e.rng.IntN(4)))
	e.entries = append(e.entries[:from-e.base:from-e.base], batch...)
	if e.commit < from {
		e.commit += uint64(e.rng.IntN(2))
	}
	saves(stateAt(e.term, e.commit), batch)(t, w)
}

// commitMore saves a commit index without entries, which is not synced by itself.
func (e *expected) commitMore(t *testing.T, w *WAL) {
	e.commit += uint64(e.rng.IntN(int(e.last()-e.commit) + 1))
	saves(stateAt(e.term, e.commit), nil)(t, w)
}

// take takes a snapshot of what is committed.
func (e *expected) take(t *testing.T, w *WAL) {
	if e.commit == e.start {
		return
	}
	e.start = e.commit
	takes(e.start, e.entries[e.start-e.base-1].GetTerm())(t, w)
}

// receive gets a snapshot of a later leader, which goes further than what is committed here.
func (e *expected) receive(t *testing.T, w *WAL) {
	e.term++
	e.base = e.commit + 1 + uint64(e.rng.IntN(6))
	e.entries, e.commit, e.start = nil, e.base, e.base
	receives(e.base, e.term)(t, w)
}

// fail has some of it fail: nothing of that is left.
func (e *expected) fail(t *testing.T, w *WAL) {
	kept := *e
	kept.entries = slices.Clone(e.entries)
	unsaved(func(t *testing.T, w *WAL) {
		for range e.rng.IntN(4) {
			e.save(t, w)
		}
		switch e.rng.IntN(4) {
		case 0:
			e.take(t, w)
		case 1:
			e.receive(t, w)
		}
	})(t, w)
	*e = kept
}

// check opens a log as a member does that has applied some of what is committed.
func (e *expected) check(t *testing.T, dir string) *WAL {
	t.Helper()
	w, rec := mustOpen(t, dir, e.start+uint64(e.rng.IntN(int(e.commit-e.start)+1)))
	if at := rec.Snapshot.GetIndex(); at != e.start {
		t.Fatalf("opened at %d, want %d", at, e.start)
	}
	want := e.entries[e.start-e.base:]
	same := func(a, b *raftpb.Entry) bool { return a.GetIndex() == b.GetIndex() && a.GetTerm() == b.GetTerm() }
	if !slices.EqualFunc(rec.Entries, want, same) {
		t.Fatalf("after %d: %s, want %s", e.start, outline(rec.Entries), outline(want))
	}
	if rec.HardState.GetTerm() != e.term {
		t.Fatalf("term %d, want %d", rec.HardState.GetTerm(), e.term)
	}
	return w
}

// outline is the indexes and terms of entries.
func outline(entries []*raftpb.Entry) (text string) {
	for _, e := range entries {
		text += fmt.Sprintf(" %d/%d", e.GetIndex(), e.GetTerm())
	}
	return "[" + text + " ]"
}

// Whatever is saved, fails, is taken and is received, over however many segments and starts: what is left is what was
// saved. -histories runs more of them.
func TestRandomHistories(t *testing.T) {
	for seed := range *histories {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			e := &expected{rng: rand.New(rand.NewPCG(11, seed)), term: 1}
			// Files of whole records only: what is left of one is not enough for the head of the next.
			smallSegments(t, 8*int64(40+e.rng.IntN(250)))
			dir := t.TempDir()
			w, _ := mustOpen(t, dir, 0)
			e.save(t, w)
			for range 150 {
				switch e.rng.IntN(16) {
				case 0, 1:
					e.fail(t, w)
				case 2, 3:
					e.take(t, w)
				case 4:
					e.receive(t, w)
				case 5, 6:
					e.commitMore(t, w)
				case 7:
					mustClose(t, w)
					w = e.check(t, dir)
				default:
					e.save(t, w)
				}
			}
			mustClose(t, w)
			mustClose(t, e.check(t, dir))
		})
	}
}
