// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

// Status is a log's state at one moment, each field by itself.
type Status struct {
	MemberID, ClusterID uint64
	// Leader is the leading member, 0 if none is known; Lead says that this one leads.
	Leader, Term uint64
	Lead         bool
	// Learner says that this member has no vote.
	Learner bool
	// CommitIndex, AppliedIndex and DurableIndex are the last entries committed, applied, and known to be
	// durable in the state machine.
	CommitIndex, AppliedIndex, DurableIndex uint64
	// AppliedTerm is the term of the last applied entry.
	AppliedTerm uint64
	// PendingProposals is the number of proposals whose proposers wait.
	PendingProposals int
	// NoSpace says that proposals are refused for want of space.
	NoSpace bool
	// Err is why the log died, nil while it lives and after an orderly Stop.
	Err error
}

// Status returns the log's state. It is cheap.
func (l *Log) Status() Status {
	s := Status{
		MemberID:         l.identity.MemberID,
		ClusterID:        l.identity.ClusterID,
		Leader:           l.leader.Load(),
		Term:             l.term.Load(),
		Lead:             l.leads.Load(),
		Learner:          l.learner.Load(),
		CommitIndex:      l.committed.Load(),
		AppliedIndex:     l.applied.Load(),
		DurableIndex:     l.durable.Load(),
		AppliedTerm:      l.appliedTerm.Load(),
		PendingProposals: l.props.pending(),
		NoSpace:          l.space.failing.Load() || l.space.scarce.Load(),
	}
	if err := l.err.Load(); err != nil {
		s.Err = *err
	}
	return s
}

// Term returns the current term.
func (l *Log) Term() uint64 { return l.term.Load() }

// Leader returns the leading member, 0 if none is known.
func (l *Log) Leader() uint64 { return l.leader.Load() }

// LeaderChanged returns a channel that is closed when another member leads, or none does any more.
func (l *Log) LeaderChanged() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaderChanged
}

// Done returns a channel that is closed when the log dies by an error or is stopped.
func (l *Log) Done() <-chan struct{} { return l.done }
