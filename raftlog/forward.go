// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Proposals of a member that does not lead go to the leader as a MsgProp, stamped with the term for which this member
// knows it as the leader: raft ignores it in any later one, so a proposal can enter the log in that term only. And
// they are numbered, so that one that the network delivers twice enters the log once. An etcd member does neither, and
// ignores the number.

// stampLocked marks a MsgProp that leaves.
func (l *Log) stampLocked(m *raftpb.Message) {
	l.forwarded++
	m.Term, m.Index = new(l.term.Load()), new(l.forwarded)
}

// forwardsWindow is how far behind the newest MsgProp of a member an earlier one may arrive; one that comes later
// still is dropped, as the network might.
const forwardsWindow = 1024

// forwards are the numbers of the MsgProps that came from one member in one term.
type forwards struct {
	term, newest uint64
	seen         [forwardsWindow / 64]uint64 // by number modulo the window
}

// first notes a number, and returns false if it was noted before or is too old to tell.
func (f *forwards) first(term, number uint64) bool {
	if term != f.term {
		*f = forwards{term: term}
	}
	word, bit := &f.seen[number/64%uint64(len(f.seen))], uint64(1)<<(number%64)
	switch {
	case number > f.newest:
		f.forget(number)
	case f.newest-number >= forwardsWindow || *word&bit != 0:
		return false
	}
	*word |= bit
	return true
}

// forget moves the window so that number is its newest.
func (f *forwards) forget(number uint64) {
	if number-f.newest >= forwardsWindow {
		f.seen = [len(f.seen)]uint64{}
	} else {
		for n := f.newest + 1; n <= number; n++ {
			f.seen[n/64%uint64(len(f.seen))] &^= 1 << (n % 64)
		}
	}
	f.newest = number
}

// stepForwardedLocked gives raft a MsgProp of another member. It is dropped if that is none (any more), or if this
// member does not lead in its term.
// While leadership is being handed over it waits, as a local one does: if that fails nobody else would repeat it.
func (l *Log) stepForwardedLocked(m *raftpb.Message) error {
	if !l.leads.Load() || m.GetTerm() != 0 && m.GetTerm() != l.term.Load() || !isMember(l.conf, m.GetFrom()) {
		return nil
	}
	if number := m.GetIndex(); number != 0 {
		f := l.forwards[m.GetFrom()]
		if f == nil {
			f = new(forwards)
			l.forwards[m.GetFrom()] = f
		}
		if !f.first(m.GetTerm(), number) {
			return nil
		}
	}
	return l.stepOrDeferLocked(m)
}

func isMember(conf *raftpb.ConfState, id uint64) bool {
	return slices.Contains(conf.GetVoters(), id) || slices.Contains(conf.GetLearners(), id) || slices.Contains(conf.GetVotersOutgoing(), id)
}

// stepOrDeferLocked gives raft a MsgProp and keeps it, up to the bound of this member's own, if raft does not take it.
func (l *Log) stepOrDeferLocked(m *raftpb.Message) error {
	err := l.rn.Step(m)
	if !errors.Is(err, raft.ErrProposalDropped) {
		return err
	}
	bytes := uint64(0)
	for _, e := range m.GetEntries() {
		bytes += uint64(len(e.GetData()))
	}
	if l.deferredBytes+bytes <= l.opts.MaxPendingBytes {
		l.deferred = append(l.deferred, m)
		l.deferredBytes += bytes
	}
	return nil
}

// retryDeferredLocked gives raft what it did not take before. Of an earlier term it is void: raft ignores it.
func (l *Log) retryDeferredLocked() {
	if len(l.deferred) == 0 {
		return
	}
	deferred := l.deferred
	l.deferred, l.deferredBytes = nil, 0
	if !l.leads.Load() {
		return
	}
	for _, m := range deferred {
		if err := l.stepOrDeferLocked(m); err != nil {
			l.opts.Logger.Sugar().Warnf("cannot take a forwarded proposal: %v", err)
		}
	}
}
