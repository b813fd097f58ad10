// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Progress is what the leader knows of one member, itself included.
type Progress struct {
	ID uint64
	// Match is the last entry known to be on the member's disk, Next the one to be sent next.
	Match, Next uint64
	// State is raft's: StateProbe, StateReplicate or StateSnapshot.
	State   string
	Learner bool
	// RecentActive says that the member was heard from within the last election timeout.
	RecentActive bool
	// PendingSnapshot is the index of the snapshot on its way to the member, 0 if there is none.
	PendingSnapshot uint64
}

// Progress returns what this member, as the leader, knows of all members, in the order of their ids; nil if it
// does not lead. Its cost is that of a small slice.
func (l *Log) Progress() []Progress {
	if !l.leads.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || !l.leads.Load() {
		return nil
	}
	var all []Progress
	l.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		all = append(all, Progress{
			ID:              id,
			Match:           pr.Match,
			Next:            pr.Next,
			State:           pr.State.String(),
			Learner:         typ == raft.ProgressTypeLearner,
			RecentActive:    pr.RecentActive || id == l.identity.MemberID,
			PendingSnapshot: pr.PendingSnapshot,
		})
	})
	return all
}
