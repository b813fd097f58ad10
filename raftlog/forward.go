// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Proposals of a member that does not lead go to the leader as a MsgProp, stamped with the term for which this member
// knows it as the leader: raft ignores it in any later one, so a proposal can enter the log in that term only. And
// they are numbered, so that one that the network delivers twice enters the log once. Numbers begin anew with every
// run of a member, whose clock may have been set back; what tells runs apart is random. An etcd member does none of
// this, and ignores it.

// stampLocked marks a MsgProp that leaves.
func (l *Log) stampLocked(m *raftpb.Message) {
	l.forwarded++
	m.Term, m.Index, m.LogTerm = new(l.term.Load()), new(l.forwarded), new(l.runID)
}

// newRunID returns what tells this run of a member from its others.
func newRunID() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("raftlog: random number: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// forwardsWindow is how far behind the newest MsgProp of a run an earlier one may arrive; one that comes later
// still is dropped, as the network might. maxForwards bounds the runs that are told apart within one term: when
// there are more, the one heard of first is forgotten.
const (
	forwardsWindow = 1024
	maxForwards    = 256
)

// origin is a run of a member.
type origin struct{ member, run uint64 }

// forwards are the MsgProps that came in one term.
type forwards struct {
	term     uint64
	byOrigin map[origin]*numbers
	origins  []origin // in the order in which they were first heard of
}

// first notes a number, and returns false if it was noted before or is too old to tell.
func (f *forwards) first(term uint64, from origin, number uint64) bool {
	if f.byOrigin == nil || term != f.term {
		*f = forwards{term: term, byOrigin: make(map[origin]*numbers)}
	}
	n := f.byOrigin[from]
	if n == nil {
		if len(f.origins) == maxForwards {
			delete(f.byOrigin, f.origins[0])
			f.origins = f.origins[1:]
		}
		n = new(numbers)
		f.byOrigin[from] = n
		f.origins = append(f.origins, from)
	}
	return n.first(number)
}

// numbers are those of the MsgProps that came from one run.
type numbers struct {
	newest uint64
	seen   [forwardsWindow / 64]uint64 // by number modulo the window
}

// first notes a number, and returns false if it was noted before or is too old to tell.
func (n *numbers) first(number uint64) bool {
	word, bit := &n.seen[number/64%uint64(len(n.seen))], uint64(1)<<(number%64)
	switch {
	case number > n.newest:
		n.forget(number)
	case n.newest-number >= forwardsWindow || *word&bit != 0:
		return false
	}
	*word |= bit
	return true
}

// forget moves the window so that number is its newest.
func (n *numbers) forget(number uint64) {
	if number-n.newest >= forwardsWindow {
		n.seen = [len(n.seen)]uint64{}
	} else {
		for i := n.newest + 1; i <= number; i++ {
			n.seen[i/64%uint64(len(n.seen))] &^= 1 << (i % 64)
		}
	}
	n.newest = number
}

// stepForwardedLocked gives raft a MsgProp of another member. It is dropped if that is none (any more), or if this
// member does not lead in its term.
// While leadership is being handed over it waits, as a local one does: if that fails nobody else would repeat it.
func (l *Log) stepForwardedLocked(m *raftpb.Message) error {
	if !l.leads.Load() || m.GetTerm() != 0 && m.GetTerm() != l.term.Load() || !isMember(l.conf, m.GetFrom()) {
		return nil
	}
	if number := m.GetIndex(); number != 0 && !l.forwards.first(m.GetTerm(), origin{m.GetFrom(), m.GetLogTerm()}, number) {
		return nil
	}
	return l.stepOrDeferLocked(m)
}

func isMember(conf *raftpb.ConfState, id uint64) bool {
	return slices.Contains(conf.GetVoters(), id) || slices.Contains(conf.GetLearners(), id) || slices.Contains(conf.GetVotersOutgoing(), id)
}

// stepOrDeferLocked gives raft a MsgProp and keeps what raft does not take: all of it while leadership is handed over,
// and changes of membership while another one is not applied yet.
func (l *Log) stepOrDeferLocked(m *raftpb.Message) error {
	if l.changePendingLocked() {
		if m = l.deferChangesLocked(m); m == nil {
			return nil
		}
	}
	entries := slices.Clone(m.GetEntries())
	err := l.rn.Step(m)
	if errors.Is(err, raft.ErrProposalDropped) {
		l.deferLocked(m)
		return nil
	}
	if err != nil {
		return err
	}
	// raft puts an empty entry in place of a conf change that comes too early.
	var early []*raftpb.Entry
	for i, e := range entries {
		if m.Entries[i] != e {
			early = append(early, e)
		}
	}
	if len(early) > 0 {
		l.deferLocked(withEntries(m, early))
	}
	l.noteChangesLocked(entries)
	return nil
}

func withEntries(m *raftpb.Message, entries []*raftpb.Entry) *raftpb.Message {
	return &raftpb.Message{Type: m.Type, From: m.From, To: m.To, Term: m.Term, Entries: entries}
}

// logPlace is an entry in the log of a leader of a term.
type logPlace struct{ term, index uint64 }

// noteChangesLocked notes where in the log changes of membership are that raft was just given, or the empty entries in
// their places. Until that is applied raft would put another empty entry into the log for each that it is given.
func (l *Log) noteChangesLocked(entries []*raftpb.Entry) {
	if slices.ContainsFunc(entries, isChange) {
		l.advanceLocked() // so that lastIndex is raft's of now
		l.changed = logPlace{l.term.Load(), l.lastIndex}
	}
}

func isChange(e *raftpb.Entry) bool { return e.GetType() != raftpb.EntryNormal }

// changePendingLocked says that it makes no sense to give raft a change of membership now.
func (l *Log) changePendingLocked() bool {
	return l.changed.term == l.term.Load() && l.rn.BasicStatus().Applied < l.changed.index
}

// deferChangesLocked keeps the changes of membership that m holds for the next tick, and returns m without them, nil if
// nothing is left.
func (l *Log) deferChangesLocked(m *raftpb.Message) *raftpb.Message {
	var changes, rest []*raftpb.Entry
	for _, e := range m.GetEntries() {
		if isChange(e) {
			changes = append(changes, e)
		} else {
			rest = append(rest, e)
		}
	}
	if len(changes) == 0 {
		return m
	}
	l.deferLocked(withEntries(m, changes))
	if len(rest) == 0 {
		return nil
	}
	return withEntries(m, rest)
}

// deferLocked keeps a MsgProp for the next tick, up to the bounds of this member's own proposals.
func (l *Log) deferLocked(m *raftpb.Message) {
	bytes := uint64(0)
	for _, e := range m.GetEntries() {
		bytes += uint64(len(e.GetData()))
	}
	n := l.deferredCount + len(m.GetEntries())
	if n <= l.opts.MaxPendingProposals && l.deferredBytes+bytes <= l.opts.MaxPendingBytes {
		l.deferred = append(l.deferred, m)
		l.deferredCount, l.deferredBytes = n, l.deferredBytes+bytes
	}
}

// retryDeferredLocked gives raft what it did not take before. Of an earlier term it is void: raft ignores it.
func (l *Log) retryDeferredLocked() {
	if len(l.deferred) == 0 {
		return
	}
	deferred := l.deferred
	l.deferred, l.deferredCount, l.deferredBytes = nil, 0, 0
	if !l.leads.Load() {
		return
	}
	for _, m := range deferred {
		if err := l.stepOrDeferLocked(m); err != nil {
			l.opts.Logger.Sugar().Warnf("cannot take a forwarded proposal: %v", err)
		}
	}
}
