// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// ledger is what a checker knows of one node's log: all that was written, and how much of it is certain to
// survive. It is kept apart from the storage it checks.
type ledger struct {
	written, synced durable
}

// durable is the shape of a log: the terms of entries after a snapshot.
type durable struct {
	snapshot, snapshotTerm uint64
	terms                  []uint64
	term, vote, commit     uint64 // of the hard state
}

func (d durable) clone() durable {
	d.terms = append([]uint64(nil), d.terms...)
	return d
}

func (d *durable) last() uint64 { return d.snapshot + uint64(len(d.terms)) }

// holds says whether the log has the entry, or a state that contains it.
func (d *durable) holds(index, term uint64) bool {
	if index <= d.snapshot {
		return true
	}
	return index <= d.last() && d.terms[index-d.snapshot-1] == term
}

func (d *durable) save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	for _, e := range entries {
		if e.GetIndex() <= d.snapshot {
			continue
		}
		if e.GetIndex() > d.last()+1 {
			return fmt.Errorf("entry %d is saved after entry %d", e.GetIndex(), d.last())
		}
		d.terms = append(d.terms[:e.GetIndex()-d.snapshot-1], e.GetTerm())
	}
	if state != nil && state.GetTerm() > 0 {
		d.term, d.vote, d.commit = state.GetTerm(), state.GetVote(), state.GetCommit()
	}
	return nil
}

// begin makes the log begin anew after a received snapshot.
func (d *durable) begin(m *raftpb.SnapshotMetadata, state *raftpb.HardState) {
	*d = durable{snapshot: m.GetIndex(), snapshotTerm: m.GetTerm(), term: d.term, vote: d.vote, commit: d.commit}
	if state != nil && state.GetTerm() > 0 {
		d.term, d.vote, d.commit = state.GetTerm(), state.GetVote(), state.GetCommit()
	}
}

// sync makes all that was written certain.
func (l *ledger) sync() { l.synced = l.written.clone() }

// recovered checks what a log was opened with after a crash. From then on what was recovered is certain.
func (l *ledger) recovered(rec *disk.Recovered) error {
	got := durable{snapshot: rec.Snapshot.GetIndex(), snapshotTerm: rec.Snapshot.GetTerm()}
	if err := got.save(rec.HardState, rec.Entries); err != nil {
		return err
	}
	err := l.compare(&got)
	l.written = got
	l.sync()
	return err
}

// compare checks that all that was certain is in a log, and nothing that was never written.
func (l *ledger) compare(got *durable) error {
	if got.term < l.synced.term || got.term == l.synced.term && l.synced.vote != 0 && got.vote != l.synced.vote {
		return fmt.Errorf("invariant 1: the log came back with term %d, vote %d; term %d, vote %d were synced", got.term, got.vote, l.synced.term, l.synced.vote)
	}
	if l.synced.term == 0 {
		return nil // its founding was cut short and is done again: nobody was promised anything
	}
	for i, term := range l.synced.terms {
		index := l.synced.snapshot + uint64(i) + 1
		if index <= got.snapshot || got.holds(index, term) {
			continue
		}
		if !l.written.holds(index, term) {
			break // it was being replaced, with all after it
		}
		return fmt.Errorf("invariant 1: entry %d of term %d was synced and did not come back: the log ends at %d", index, term, got.last())
	}
	for i, term := range got.terms {
		index := got.snapshot + uint64(i) + 1
		if index > l.written.snapshot && !l.written.holds(index, term) && !l.synced.holds(index, term) {
			return fmt.Errorf("invariant 3: the log came back with entry %d of term %d, which was not in it", index, term)
		}
	}
	return nil
}
