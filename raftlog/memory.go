// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// memoryLog is the part of the log that raft reads: what is not applied, and a bounded tail of what is.
type memoryLog struct {
	*raft.MemoryStorage
	conf    *raftpb.ConfState // in force at the state machine's applied index when the log was opened
	applied func() *raftpb.SnapshotMetadata
}

// InitialState differs from MemoryStorage's in the configuration: raft starts at the state machine's applied
// index, which is beyond the snapshot's.
func (m *memoryLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	state, _, err := m.MemoryStorage.InitialState()
	return state, m.conf, err
}

// Snapshot tells raft from where a follower can go on that is sent the state machine's content. The content, and
// what exactly it is, comes later, see queueSnapshotLocked.
func (m *memoryLog) Snapshot() (*raftpb.Snapshot, error) {
	at := m.applied()
	if at.GetIndex() == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: at}, nil
}

// begin empties the log, which goes on after a received snapshot.
func (m *memoryLog) begin(s *raftpb.Snapshot) error {
	return m.ApplySnapshot(&raftpb.Snapshot{Metadata: s.GetMetadata()})
}

// newMemoryLog fills the log with what was on disk, to go on after the state machine's applied entry.
func newMemoryLog(rec *disk.Recovered, applied uint64, conf *raftpb.ConfState) (*memoryLog, error) {
	m := &memoryLog{MemoryStorage: raft.NewMemoryStorage(), conf: conf}
	if m.conf == nil {
		m.conf = new(raftpb.ConfState)
	}
	if applied > 0 && len(m.conf.GetVoters()) == 0 && len(m.conf.GetLearners()) == 0 {
		return nil, fmt.Errorf("raftlog: the state machine holds entries up to %d and no configuration", applied)
	}
	if rec.Snapshot.GetIndex() > 0 {
		if err := m.ApplySnapshot(&raftpb.Snapshot{Metadata: rec.Snapshot}); err != nil {
			return nil, fmt.Errorf("raftlog: begin at snapshot %d: %w", rec.Snapshot.GetIndex(), err)
		}
	}
	if err := m.Append(rec.Entries); err != nil {
		return nil, fmt.Errorf("raftlog: load entries: %w", err)
	}
	last, err := m.LastIndex()
	if err != nil {
		return nil, err
	}
	if applied > last {
		return nil, &StateAheadError{Applied: applied, Last: last}
	}
	state := rec.HardState
	if state == nil {
		state = new(raftpb.HardState)
	}
	// The commit index is saved lazily; what was applied was committed.
	if commit := max(state.GetCommit(), applied, rec.Snapshot.GetIndex()); commit > 0 {
		state = &raftpb.HardState{Term: new(state.GetTerm()), Vote: new(state.GetVote()), Commit: new(commit)}
	}
	if state.GetCommit() > last {
		return nil, fmt.Errorf("raftlog: entries up to %d are committed but the log ends at %d", state.GetCommit(), last)
	}
	return m, m.SetHardState(state)
}

// mark is the end of a batch of applied entries that are still in memory.
type mark struct {
	index uint64
	bytes uint64 // payload of the batch
}

// compactEvery is how many entries may be let go before they are: each time costs a copy of the
// pointers that stay.
const compactEvery = 1000

// retain notes that a batch was applied, and drops batches beyond what is kept for slow followers.
func (l *Log) retain(entries int, bytes uint64) {
	index := l.applied.Load()
	l.retained = append(l.retained, mark{index, bytes})
	l.retainedBytes += bytes
	l.droppable += entries
	if l.droppable < compactEvery && l.retainedBytes <= l.opts.SnapshotCatchUpBytes {
		return
	}
	if err := l.dropRetained(index); err != nil {
		l.die(err)
	}
}

// dropRetained drops what needs to be kept no more when index is applied. raft waits meanwhile: an entry that it has
// just been told is there for the receiver of a snapshot must not go.
func (l *Log) dropRetained(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	pin, pinned := l.pinnedLocked()
	drop, n := uint64(0), 0
	for n < len(l.retained)-1 {
		m := l.retained[n]
		if l.keeps(index-m.index, pinned && m.index > pin) {
			break
		}
		drop = m.index
		l.retainedBytes -= m.bytes
		n++
	}
	l.droppable = 0
	if n == 0 {
		return nil
	}
	l.retained = append(l.retained[:0], l.retained[n:]...)
	if err := l.mem.Compact(drop); err != nil && !errors.Is(err, raft.ErrCompacted) {
		return fmt.Errorf("raftlog: drop entries up to %d from memory: %w", drop, err)
	}
	return nil
}

// keeps says whether a batch stays in memory that is so many entries behind. wanted: the receiver of a snapshot
// will need it.
func (l *Log) keeps(behind uint64, wanted bool) bool {
	if wanted && behind < l.opts.SnapshotSendEntries && l.retainedBytes <= l.opts.SnapshotSendBytes {
		return true
	}
	return behind < l.opts.SnapshotCatchUpEntries && l.retainedBytes <= l.opts.SnapshotCatchUpBytes
}

// retainFrom notes that nothing up to index, which is applied, is in memory.
func (l *Log) retainFrom(index uint64) {
	l.retained = append(l.retained[:0], mark{index: index})
	l.retainedBytes, l.droppable = 0, 0
}
