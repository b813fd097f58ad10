// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"

	"keelson.io/keelson/raftlog/disk"
)

var (
	// ErrStopped is returned by a log that is stopping or stopped; Status().Err has the cause, if any.
	ErrStopped = errors.New("raftlog: stopped")
	// ErrTooManyRequests is returned when too much waits to be committed or applied.
	ErrTooManyRequests = errors.New("raftlog: too many requests")
	// ErrNoSpace is returned when the log's disk is full or nearly so. Nothing was proposed.
	ErrNoSpace = errors.New("raftlog: no space on the log's disk")
	// ErrProposalDropped is returned when raft refused a proposal, as while leadership is handed over.
	ErrProposalDropped = errors.New("raftlog: proposal dropped")
	// ErrConfChangePending is returned when the change of membership before this one is not applied yet.
	ErrConfChangePending = errors.New("raftlog: another configuration change is pending")
	// ErrDuplicateID is returned when a proposal with the same id is still waiting.
	ErrDuplicateID = errors.New("raftlog: a proposal with this id is waiting")
	// ErrStateTransfer is returned by Step for a message that carries a snapshot: the sender holds too
	// little of the log for this member to catch up by entries.
	ErrStateTransfer = errors.New("raftlog: cannot receive a snapshot of the state")
	// ErrNoLeader is returned when there is no leader to hand over or to hand over to.
	ErrNoLeader = errors.New("raftlog: no leader")
	// ErrHeld is returned when another process holds the data directory.
	ErrHeld = disk.ErrHeld
)

// StateAheadError says that the state machine holds entries that the log does not have.
type StateAheadError struct {
	// Applied is the state machine's last entry, Last the log's.
	Applied, Last uint64
}

func (e *StateAheadError) Error() string {
	return fmt.Sprintf("raftlog: the state machine holds entries up to %d but the log ends at %d: they do not belong together, or the log lost its end", e.Applied, e.Last)
}
