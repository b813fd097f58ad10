// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

var (
	// ErrNotSaved is wrapped by the error of a Save or SaveSnapshot that may succeed later, as when the
	// disk is full: nothing of the call counts, and Reopen must succeed before the next one.
	ErrNotSaved = errors.New("not saved")
	// ErrNotPurged is wrapped by the error of a SaveSnapshot that succeeded, but left files that are needed no more.
	ErrNotPurged = errors.New("old files are left")
	// ErrHeld says that another process holds the directory.
	ErrHeld = errors.New("held by another process")
)

// Identity is who a log belongs to.
type Identity struct {
	MemberID, ClusterID uint64
}

// Recovered is what a log held when it was opened.
type Recovered struct {
	Identity Identity
	// Snapshot is where the entries begin: Entries[0], if any, has the index after it. Index 0: at the
	// beginning. ConfState is the configuration in force at Index.
	Snapshot *raftpb.SnapshotMetadata
	// HardState is the last one saved, empty if none was.
	HardState *raftpb.HardState
	// Entries are consecutive; those beyond HardState's commit may still be replaced.
	Entries []*raftpb.Entry
}

// CorruptError says that a file is damaged where a crash alone cannot have damaged it.
type CorruptError struct {
	Path string
	// Offset is where the damaged record begins, in bytes from the file's start.
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("write-ahead log %s is damaged at byte offset %d (%s); nothing was changed: restore this member from a snapshot, or remove it from the cluster and add it again", e.Path, e.Offset, e.Reason)
}

// GapError says that the log begins after the entries that the state machine needs next.
type GapError struct {
	// Applied is the state machine's last entry; First is the first entry the log can replay from.
	Applied, First uint64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the state machine holds entries up to %d but the write-ahead log begins at %d: the state database is missing or too old, and the log does not reach back", e.Applied, e.First)
}

// IdentityError says that a log belongs to somebody else.
type IdentityError struct {
	Path      string
	Want, Got Identity
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("write-ahead log %s belongs to member %x of cluster %x, not to member %x of cluster %x", e.Path, e.Got.MemberID, e.Got.ClusterID, e.Want.MemberID, e.Want.ClusterID)
}
