// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// LogLostError says that the leader counts on entries that this member's log does not have: it acknowledged them, and
// then lost its data. It must not go on, as it might elect a leader that lacks them too.
type LogLostError struct {
	// Committed is what the leader takes for granted here, Last the last entry that is here.
	Committed, Last uint64
}

func (e *LogLostError) Error() string {
	return fmt.Sprintf("raftlog: the leader counts on entries up to %d in this member's log, which ends at %d: its data was lost or is an older copy; remove this member from the cluster and add it again", e.Committed, e.Last)
}

// maxTermLead is how far a message's term may be ahead. Nobody gets there by elections; raft's terms must not overflow.
const maxTermLead = 1 << 32

// inspectLocked looks whether a message from another member is one that raft can be given. raft trusts what it is
// given and panics when it does not fit.
func (l *Log) inspectLocked(m *raftpb.Message) error {
	from, self := m.GetFrom(), l.identity.MemberID
	if from == raft.None || from == self || raft.IsLocalMsgTarget(from) || m.GetTo() != self {
		return fmt.Errorf("%w: from %x to %x, at %x", raft.ErrStepLocalMsg, from, m.GetTo(), self)
	}
	term := l.term.Load()
	if m.GetTerm() > term && m.GetTerm()-term > maxTermLead {
		return fmt.Errorf("raftlog: member %x is at term %d, which nobody can have reached from %d", from, m.GetTerm(), term)
	}
	switch m.GetType() {
	case raftpb.MsgProp:
		return inspectProposal(m)
	case raftpb.MsgReadIndex: // raft forwards it, and can't if it has a term
		if m.GetTerm() != 0 || len(m.GetEntries()) != 1 {
			return fmt.Errorf("raftlog: member %x asked for an index in term %d with %d contexts", from, m.GetTerm(), len(m.GetEntries()))
		}
		return nil
	}
	if m.GetTerm() == 0 { // raft takes it for its own
		return fmt.Errorf("raftlog: member %x sent a %v without a term", from, m.GetType())
	}
	return l.inspectTermedLocked(m)
}

// inspectTermedLocked is inspectLocked for a message of the kinds that have a term.
func (l *Log) inspectTermedLocked(m *raftpb.Message) error {
	term := l.term.Load()
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow, raftpb.MsgReadIndexResp:
		return nil
	case raftpb.MsgApp:
		return inspectEntries(m)
	case raftpb.MsgSnap:
		return inspectSnapshot(m)
	case raftpb.MsgHeartbeat:
		if m.GetTerm() >= term && m.GetCommit() > l.lastIndex {
			return &LogLostError{Committed: m.GetCommit(), Last: l.lastIndex}
		}
		return nil
	case raftpb.MsgAppResp:
		if l.leads.Load() && m.GetTerm() == term && !m.GetReject() && m.GetIndex() > l.lastIndex {
			return fmt.Errorf("raftlog: member %x acknowledged entry %d, and the last one is %d", m.GetFrom(), m.GetIndex(), l.lastIndex)
		}
		return nil
	case raftpb.MsgHeartbeatResp:
		if l.leads.Load() && m.GetTerm() == term {
			return l.heartbeats.inspect(m)
		}
		return nil
	case raftpb.MsgTransferLeader: // a follower would forward it, and can't because it has a term
		if !l.leads.Load() {
			return fmt.Errorf("raftlog: member %x wants leadership from this member, which does not lead", m.GetFrom())
		}
		return nil
	}
	return fmt.Errorf("%w: %v", raft.ErrStepLocalMsg, m.GetType())
}

// inspectProposal looks whether the entries of a MsgProp are some that a log can have.
func inspectProposal(m *raftpb.Message) error {
	if len(m.GetEntries()) == 0 {
		return fmt.Errorf("raftlog: member %x proposed nothing", m.GetFrom())
	}
	for _, e := range m.GetEntries() {
		if err := inspectPayload(e); err != nil {
			return fmt.Errorf("raftlog: member %x proposed what no log holds: %w", m.GetFrom(), err)
		}
	}
	return nil
}

// inspectPayload looks whether an entry is of a kind that can be applied.
func inspectPayload(e *raftpb.Entry) error {
	if e.GetType() == raftpb.EntryNormal {
		return nil
	}
	_, err := decodeConfChange(e)
	return err
}

// inspectEntries looks whether the entries of a MsgApp are a piece of a log.
func inspectEntries(m *raftpb.Message) error {
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, e := range m.GetEntries() {
		index++
		if e.GetIndex() != index || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("raftlog: member %x sent entry %d of term %d where %d of terms %d to %d is due",
				m.GetFrom(), e.GetIndex(), e.GetTerm(), index, term, m.GetTerm())
		}
		if err := inspectPayload(e); err != nil {
			return fmt.Errorf("raftlog: member %x sent what no log holds: %w", m.GetFrom(), err)
		}
		term = e.GetTerm()
	}
	return nil
}

// inspectSnapshot looks whether a MsgSnap is about a place in a log, with a configuration that raft can be in.
func inspectSnapshot(m *raftpb.Message) error {
	at := m.GetSnapshot().GetMetadata()
	if at.GetIndex() == 0 || at.GetTerm() == 0 || at.GetTerm() > m.GetTerm() {
		return fmt.Errorf("raftlog: member %x sent a snapshot of entry %d of term %d in term %d", m.GetFrom(), at.GetIndex(), at.GetTerm(), m.GetTerm())
	}
	conf := raftpb.EnsureConfState(at.GetConfState())
	restored, _, err := confchange.Restore(confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: at.GetIndex()}, conf)
	if err == nil {
		err = conf.Equivalent((&tracker.ProgressTracker{Config: restored}).ConfState())
	}
	if err != nil {
		return fmt.Errorf("raftlog: member %x sent a snapshot with a configuration that cannot be: %w", m.GetFrom(), err)
	}
	return nil
}

// heartbeatNumbers are what raft counts with who has answered which heartbeat, in their contexts.
type heartbeatNumbers struct{ term, newest uint64 }

// note keeps the number of a heartbeat that leaves.
func (h *heartbeatNumbers) note(m *raftpb.Message) {
	if context := m.GetContext(); len(context) == 8 {
		*h = heartbeatNumbers{m.GetTerm(), binary.LittleEndian.Uint64(context)}
	}
}

// inspect looks whether a MsgHeartbeatResp answers a heartbeat that there was in its term.
func (h *heartbeatNumbers) inspect(m *raftpb.Message) error {
	newest := h.newest
	if m.GetTerm() != h.term {
		newest = 0
	}
	context := m.GetContext()
	if len(context) != 0 && (len(context) != 8 || binary.LittleEndian.Uint64(context) > newest) {
		return fmt.Errorf("raftlog: member %x answered a heartbeat that nobody sent: %x", m.GetFrom(), context)
	}
	return nil
}
