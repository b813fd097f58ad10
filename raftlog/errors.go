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
	// ErrResultUnknown is returned when this member got the proposal's result, if there is one, as a part of
	// another member's whole state: it may have been applied.
	ErrResultUnknown = errors.New("raftlog: the proposal's result is not known")
	// ErrConfChangePending is returned when the change of membership before this one is not applied yet.
	ErrConfChangePending = errors.New("raftlog: another configuration change is pending")
	// ErrDuplicateID is returned when a proposal with the same id is still waiting.
	ErrDuplicateID = errors.New("raftlog: a proposal with this id is waiting")
	// ErrStateTransfer is returned by Step for a message that carries a snapshot while another one waits.
	ErrStateTransfer = errors.New("raftlog: another snapshot of the state is being received")
	// ErrNotLeader is returned by ProposeInTerm when this member does not lead in the term, or lost
	// leadership before the entry was committed. It was not applied and never will be.
	ErrNotLeader = errors.New("raftlog: not the leader of this term")
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
