// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import "time"

// Events are told what happens in a log. Every field may be nil. The functions are called in the path of
// requests, by any goroutine: they must be quick and must not call back into the Log.
type Events struct {
	// LeaderChanged tells that member leads from now on; 0: nobody does.
	LeaderChanged func(leader, term uint64)
	// Committed tells the index up to which entries are committed.
	Committed func(index uint64)
	// Applied tells that a batch of entries was applied.
	Applied func(ApplyInfo)
	// Saved tells that a batch was made durable.
	Saved func(SaveInfo)
	// ProposalFailed tells that a proposal got an error.
	ProposalFailed func(err error)
	// ReadIndexSlow tells that a leader did not confirm a read in time and is asked again.
	ReadIndexSlow func()
	// ReadIndexFailed tells that a linearizable read got an error.
	ReadIndexFailed func(err error)
	// DiskFailing tells that a batch could not be saved and will be tried again; DiskRecovered that it
	// was saved at last.
	DiskFailing   func(err error)
	DiskRecovered func(after time.Duration)
	// SnapshotSaved tells that segments before a durable index were let go.
	SnapshotSaved func(SnapshotInfo)
	// SnapshotFailed tells that a snapshot could not be made; the next one will be tried in its time.
	SnapshotFailed func(err error)
	// SnapshotSent and SnapshotSendFailed tell what became of a snapshot for a member that lags behind.
	SnapshotSent, SnapshotSendFailed func(TransferInfo)
	// SnapshotRestored tells that the state machine was restored from another member's snapshot.
	SnapshotRestored func(RestoreInfo)
	// HeartbeatLate tells that a leader sent its heartbeats later than it should have, by more than their interval.
	HeartbeatLate func(by time.Duration)
}

// TransferInfo describes a snapshot that was to be sent.
type TransferInfo struct {
	// Member is the receiver.
	Member uint64
	// Index is the last entry in the content, Bytes the content's size, 0 if it was not opened.
	Index uint64
	Bytes int64
	// Took covers waiting for a turn, opening, sending and verifying.
	Took time.Duration
}

// RestoreInfo describes a restored snapshot.
type RestoreInfo struct {
	Index uint64
	// Took covers what the state machine did; receiving and saving came before.
	Took time.Duration
}

// ApplyInfo describes a batch of applied entries.
type ApplyInfo struct {
	// Index is the last entry's.
	Index   uint64
	Entries int
	Took    time.Duration
}

// SaveInfo describes a batch of saved entries.
type SaveInfo struct {
	Entries int
	// Bytes is the payload of the entries.
	Bytes int
	// Took covers writing and syncing.
	Took time.Duration
}

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	// Index is the snapshot's, Durable the last entry that the state machine holds durably.
	Index, Durable uint64
	Took           time.Duration
}
