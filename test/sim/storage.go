// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// medium is where a node's log is kept. It outlives crashes.
type medium interface {
	identity() (disk.Identity, bool, error)
	open(id disk.Identity, applied uint64) (*disk.Recovered, error)
	save(state *raftpb.HardState, entries []*raftpb.Entry) error
	reopen() error
	saveSnapshot(s *raftpb.Snapshot) error
	saveReceived(s *raftpb.Snapshot, state *raftpb.HardState) error
	// sync is called when all that was saved is to be durable.
	sync() error
	// crash leaves what a crash leaves; the log must be opened again.
	crash(r random, kind crashKind) error
	// newest returns the index of the newest committed snapshot, 0 if there is none.
	newest() (uint64, error)
	// close frees what is held.
	close() error
}

// simMedium is a simLog as a medium.
type simMedium struct{ *simLog }

func (m simMedium) identity() (disk.Identity, bool, error) {
	return m.id, len(m.segments) > 0, nil
}

func (m simMedium) save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	m.simLog.save(state, entries)
	return nil
}

func (m simMedium) reopen() error { return nil }

func (m simMedium) saveSnapshot(s *raftpb.Snapshot) error {
	m.simLog.saveSnapshot(s.GetMetadata())
	return nil
}

func (m simMedium) saveReceived(s *raftpb.Snapshot, state *raftpb.HardState) error {
	m.simLog.saveReceived(s.GetMetadata(), state)
	return nil
}

func (m simMedium) sync() error {
	m.simLog.sync()
	return nil
}

func (m simMedium) crash(r random, kind crashKind) error {
	m.simLog.crash(r, kind)
	return nil
}

func (m simMedium) close() error { return nil }

// errDisk is what a failing disk says.
var errDisk = errors.New("simulated disk error")

// storage is a node's raftlog.Storage: a medium with faults and a ledger. Saves are durable only when the world has
// synced them, which is when it calls FinishSave.
type storage struct {
	node    *node
	medium  medium
	ledger  ledger
	failing bool // every write fails
	refused bool // the last Save was refused and is to be tried again
	voted   bool // the last Save held a new term or vote and no entries
}

// Identity implements raftlog.Storage.
func (s *storage) Identity() (disk.Identity, bool, error) { return s.medium.identity() }

// Open implements raftlog.Storage and checks that what comes back is what must.
func (s *storage) Open(id disk.Identity, applied uint64) (*disk.Recovered, error) {
	rec, err := s.medium.open(id, applied)
	if err != nil {
		return nil, err
	}
	if err := s.ledger.recovered(rec); err != nil && !s.node.world.plan.blind {
		s.node.world.failf("n%d: %w", s.node.id, err)
	}
	return rec, nil
}

// Save implements raftlog.Storage.
func (s *storage) Save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if s.failing {
		s.refused = true
		return fmt.Errorf("%w: %w", disk.ErrNotSaved, errDisk)
	}
	s.refused = false
	kept := state
	if s.node.world.plan.bug == BugLostVote && state.GetTerm() > 0 {
		kept = &raftpb.HardState{Term: new(state.GetTerm()), Vote: new(uint64(0)), Commit: new(state.GetCommit())}
	}
	if err := s.medium.save(kept, entries); err != nil {
		return err
	}
	s.voted = len(entries) == 0 && state.GetTerm() > 0 && (state.GetTerm() != s.ledger.written.term || state.GetVote() != s.ledger.written.vote)
	if err := s.ledger.written.save(state, entries); err != nil {
		s.node.world.failf("n%d: %w", s.node.id, err)
	}
	s.node.maybeCrash("save")
	return nil
}

// Reopen implements raftlog.Storage.
func (s *storage) Reopen() error {
	if s.failing {
		return fmt.Errorf("%w: %w", disk.ErrNotSaved, errDisk)
	}
	return s.medium.reopen()
}

// sync makes all that was saved durable.
func (s *storage) sync() error {
	if err := s.medium.sync(); err != nil {
		return err
	}
	s.ledger.sync()
	return nil
}

// SaveSnapshot implements raftlog.Storage and checks that the state machine is durable before the log goes.
func (s *storage) SaveSnapshot(snapshot *raftpb.Snapshot) error {
	if s.failing {
		return fmt.Errorf("%w: %w", disk.ErrNotSaved, errDisk)
	}
	index := snapshot.GetMetadata().GetIndex()
	if durable := s.node.disk.durable(); durable < index && !s.node.world.plan.blind {
		s.node.world.failf("n%d: invariant 3: the log is let go of up to %d, the state machine is durable up to %d", s.node.id, index, durable)
	}
	s.node.maybeCrash("snap-before")
	if err := s.medium.saveSnapshot(snapshot); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	s.node.world.note(s.node.id, "snapshot", "", index)
	s.node.maybeCrash("snap-after")
	return nil
}

// SaveReceived implements raftlog.Storage.
func (s *storage) SaveReceived(snapshot *raftpb.Snapshot, state *raftpb.HardState) error {
	if s.failing {
		s.refused = true
		return fmt.Errorf("%w: %w", disk.ErrNotSaved, errDisk)
	}
	s.refused = false
	s.node.maybeCrash("received-before")
	if s.node.world.plan.bug != BugNoRecord {
		if err := s.medium.saveReceived(snapshot, state); err != nil {
			return err
		}
	}
	s.ledger.written.begin(snapshot.GetMetadata(), state)
	if err := s.sync(); err != nil {
		return err
	}
	s.node.world.note(s.node.id, "received", "", snapshot.GetMetadata().GetIndex())
	s.node.maybeCrash("received-after")
	return nil
}

// FreeBytes implements raftlog.Storage.
func (s *storage) FreeBytes() (uint64, error) { return 1 << 40, nil }

// Close implements raftlog.Storage.
func (s *storage) Close() error { return nil }
