// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
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

// inspectLocked looks whether a message from another member is one that raft can be given. raft trusts what it is
// given and panics when it does not fit.
func (l *Log) inspectLocked(m *raftpb.Message) error {
	from, self := m.GetFrom(), l.identity.MemberID
	if from == raft.None || from == self || raft.IsLocalMsgTarget(from) || m.GetTo() != self {
		return fmt.Errorf("%w: from %x to %x, at %x", raft.ErrStepLocalMsg, from, m.GetTo(), self)
	}
	switch m.GetType() {
	case raftpb.MsgApp:
		return inspectEntries(m)
	case raftpb.MsgHeartbeat:
		if m.GetTerm() >= l.term.Load() && m.GetCommit() > l.lastIndex {
			return &LogLostError{Committed: m.GetCommit(), Last: l.lastIndex}
		}
	}
	return nil
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
		term = e.GetTerm()
	}
	return nil
}
