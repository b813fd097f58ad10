// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Entry is a committed proposal. Data is never empty, never changes, and may be kept.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// Result is what applying one proposal gave.
type Result struct {
	// ID is the proposal's id, which the state machine finds in the entry; 0 when it has none.
	ID uint64
	// Value is handed to the proposer, if it is on this member and still waiting.
	Value any
}

// ConfChange is a committed change of membership, of either of raft's two forms.
type ConfChange struct {
	Index, Term uint64
	// ID is the proposal's id, 0 for a change that carries none.
	ID uint64
	// Changes are the single changes: one for etcd's form, none when a joint configuration is left.
	Changes []*raftpb.ConfChangeSingle
	// Context is the proposer's payload: in etcd's form the member as JSON.
	Context []byte
	// Joint says that the change enters or leaves a configuration of two halves. A change of one member may.
	Joint bool

	raft raftpb.ConfChangeI
}

// StateSnapshot is a state machine's whole content as of one applied entry.
type StateSnapshot struct {
	// Snapshot has index, term, configuration and the payload of an etcd .snap file (the membership), all as
	// of Body's content.
	Snapshot *raftpb.Snapshot
	// Size is the number of bytes that Body gives.
	Size int64
	// Body is the content, in whatever form the machine restores from. Whoever has it closes it.
	Body io.ReadCloser
	// Portable says that Body has a form that any member takes, whatever its server is.
	Portable bool
}

// StateMachine is what committed entries are applied to. All methods but Persist and OpenSnapshot are called by one
// goroutine at a time, in the order of the log: every index once, by exactly one of Apply, ApplyEmpty
// and ApplyConfChange. They must not call back into the Log.
type StateMachine interface {
	// Applied returns the index of the last entry that the machine holds and the configuration that was
	// in force then; 0 and nil for a machine that holds nothing. Called once, by Open.
	Applied() (index uint64, conf *raftpb.ConfState)
	// Apply applies entries in order and returns their results, in any order. Results reach their
	// proposers when it returns.
	Apply(entries []Entry) []Result
	// ApplyEmpty moves the applied index over an entry without effect.
	ApplyEmpty(index, term uint64)
	// CheckConfChange says whether a change fits the membership at this point of the log. It must decide
	// from applied state alone. A change refused is applied as an entry without effect and its proposer
	// gets the error.
	CheckConfChange(change ConfChange) error
	// ApplyConfChange applies a change that fits. conf is the configuration in force from here on, to be
	// kept with the applied index and returned by Applied after a restart. An error stops the log.
	ApplyConfChange(change ConfChange, conf *raftpb.ConfState) error
	// Persist makes everything applied before the call durable and returns the index of the last durable
	// entry. It may run beside the other methods and must not hold them up.
	Persist(ctx context.Context) (index uint64, err error)
	// SnapshotData returns the payload of an etcd .snap file for the membership as of now.
	SnapshotData() ([]byte, error)
	// OpenSnapshot returns the content for a member, as of an entry not before atLeast, which is applied already. It
	// may run beside the other methods and itself, and must not hold them up. When it fails it is called again soon.
	OpenSnapshot(ctx context.Context, to, atLeast uint64) (*StateSnapshot, error)
	// Restore replaces the content by what was received for s before Step was given s; the machine knows
	// where. Afterwards Applied would return s's index and configuration. An error stops the log: the next
	// start must finish it before Open, see disk.NewestSnapshot.
	Restore(ctx context.Context, s *raftpb.Snapshot) error
}

// decodeConfChange reads the conf change of entry e.
func decodeConfChange(e *raftpb.Entry) (ConfChange, error) {
	change := ConfChange{Index: e.GetIndex(), Term: e.GetTerm()}
	switch e.GetType() {
	case raftpb.EntryConfChange:
		cc := new(raftpb.ConfChange)
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return change, fmt.Errorf("entry %d is not a conf change: %w", e.GetIndex(), err)
		}
		v2 := cc.AsV2()
		change.ID, change.Changes, change.Context, change.raft = cc.GetId(), v2.GetChanges(), cc.GetContext(), cc
	case raftpb.EntryConfChangeV2:
		cc := new(raftpb.ConfChangeV2)
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return change, fmt.Errorf("entry %d is not a conf change: %w", e.GetIndex(), err)
		}
		change.Changes, change.Context, change.raft = cc.GetChanges(), cc.GetContext(), cc
		_, enters := cc.EnterJoint()
		change.Joint = enters || cc.LeaveJoint()
	default:
		return change, fmt.Errorf("entry %d has type %v, not a conf change's", e.GetIndex(), e.GetType())
	}
	return change, nil
}
