// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog/disk"
)

// Start says what a log without any data on disk begins as. It is ignored when there is data.
type Start int

const (
	// StartNew founds a cluster: Options.Peers become the first entries.
	StartNew Start = iota
	// StartJoin waits for the leader of an existing cluster to send everything.
	StartJoin
)

// Unlimited as MaxWALs or MaxSnapshots keeps every file.
const Unlimited = -1

// Options says where a log lives, who it is and how much of everything it may hold. Zero fields take
// the default named in their comment. Open fills and validates a copy; later changes have no effect.
type Options struct {
	// DataDir holds member/wal and member/snap. Required unless Storage is set.
	DataDir string
	// WALDir holds the write-ahead log if it is to be apart from DataDir. Default DataDir/member/wal.
	WALDir string
	// Lock is the caller's hold of DataDir (see disk.LockDir). Default nil: Open takes hold itself.
	Lock *disk.Lock
	// Storage is what makes the log durable. Default: etcd's write-ahead log in DataDir and WALDir.
	Storage Storage

	// MemberID and ClusterID are this member's identity. Required for a log without data; a log with
	// data must have been written by the same (0 here: whichever wrote it).
	MemberID, ClusterID uint64
	// Start says how a log without data begins. Default StartNew.
	Start Start
	// ForceNewCluster has this member go on alone with what it has: all others are removed from the cluster. For when
	// a majority is lost for good. Ignored by a log without data. Default false.
	ForceNewCluster bool
	// Peers are the founding voters with their conf changes' contexts, in the order that every
	// founder uses. Required for StartNew.
	Peers []raft.Peer

	// Transport carries messages to other members. Default nil: there are none.
	Transport Transport
	// Clock is the source of time. Default SystemClock.
	Clock Clock
	// Logger takes what operators should read. Default: none.
	Logger *zap.Logger
	// Events are told what happens, for metrics and tests. Default: nobody is told.
	Events Events

	// TickInterval is the time between heartbeats. Default 100 ms.
	TickInterval time.Duration
	// ElectionTicks is how many heartbeats a follower misses before it stands for election. Default 10.
	ElectionTicks int
	// DisablePreVote leaves out the vote that asks whether an election has a chance. Default false.
	DisablePreVote bool

	// SnapshotCount is the number of applied entries between snapshots. Default 10,000.
	SnapshotCount uint64
	// SnapshotBytes is the payload of applied entries between snapshots, in bytes. Default 256 MiB.
	SnapshotBytes uint64
	// SnapshotCatchUpEntries is the number of applied entries held in memory for slow followers. Default 5,000.
	SnapshotCatchUpEntries uint64
	// SnapshotCatchUpBytes bounds the payload of those entries, in bytes. Default 64 MiB.
	SnapshotCatchUpBytes uint64
	// SnapshotSends is the number of snapshots of the state that are sent at once, to different members.
	// Default 2.
	SnapshotSends int
	// SnapshotSendEntries and SnapshotSendBytes bound the entries held in memory beyond those of
	// SnapshotCatchUp while a snapshot is on its way, for its receiver to go on by; beyond it the receiver
	// needs another one. Defaults 500,000 and 512 MiB.
	SnapshotSendEntries uint64
	SnapshotSendBytes   uint64
	// MaxSnapshots is the number of .snap files kept. Default 5.
	MaxSnapshots int
	// MaxWALs is the number of WAL segments kept; those still needed are kept beyond it. Default 5.
	MaxWALs int

	// MaxBatchEntries and MaxBatchBytes bound the proposals that go into the log as one batch.
	// Defaults 4,096 entries and 8 MiB; a single larger proposal is a batch of its own.
	MaxBatchEntries int
	MaxBatchBytes   uint64
	// MaxApplyBytes bounds the payload of entries handed to one Apply. Default 8 MiB.
	MaxApplyBytes uint64
	// MaxPendingProposals and MaxPendingBytes bound the proposals that wait to enter the log; beyond
	// it Propose returns ErrTooManyRequests. Defaults 16,384 and 256 MiB.
	MaxPendingProposals int
	MaxPendingBytes     uint64
	// MaxApplyGap bounds the entries that are committed and not yet applied; beyond it Propose returns
	// ErrTooManyRequests. Default 5,000.
	MaxApplyGap uint64

	// MinFreeBytes is the space that must be free on the log's file system for Propose to accept
	// anything; below it Propose returns ErrNoSpace. It keeps room for what is accepted already: the
	// next WAL segment and the state machine's own files. Default 64 MiB.
	MinFreeBytes uint64
	// UnsafeNoFsync leaves out syncing: a crash of the machine loses acknowledged writes. Default false.
	UnsafeNoFsync bool
}

// Transport carries messages to other members. Its methods must neither block nor call back into the Log.
type Transport interface {
	// Send sends messages, in order; it may drop some. No MsgSnap is among them. It is never called by two
	// goroutines at once.
	Send(messages []*raftpb.Message)
	// SendSnapshot sends the message m, a MsgSnap, and the content of s to m's receiver, and closes s.Body.
	// What becomes of it, even if it is dropped, must be told by one call of Log.ReportSnapshot, from another
	// goroutine. It may be called by several goroutines, and beside Send.
	SendSnapshot(m *raftpb.Message, s *StateSnapshot)
}

// Storage makes the log durable. Save is called by one goroutine at a time; SaveSnapshot may run beside
// Save; FreeBytes may run beside everything.
type Storage interface {
	// Identity returns whom the log belongs to, or false if there is no log yet. It changes nothing.
	Identity() (disk.Identity, bool, error)
	// Open takes hold of the log and reads it from the newest snapshot that is not newer than applied;
	// a log that isn't there is created for id.
	Open(id disk.Identity, applied uint64) (*disk.Recovered, error)
	// Save appends entries and then state (nil or empty: unchanged) and returns when they are durable.
	// An entry replaces the earlier entry with its index and all that followed it. On an error that wraps
	// disk.ErrNotSaved nothing of it counts and Reopen must be called before the next Save; any other
	// error is final.
	Save(state *raftpb.HardState, entries []*raftpb.Entry) error
	// Reopen drops whatever a failed Save left behind and makes Save possible again. Errors as Save.
	Reopen() error
	// SaveSnapshot records that the state machine durably holds everything up to the snapshot's index,
	// and lets go of segments and snapshots that are needed no more. Errors as Save; also one that wraps
	// disk.ErrNotPurged, when only the letting go failed.
	SaveSnapshot(snapshot *raftpb.Snapshot) error
	// SaveReceived records a snapshot that another member sent and then state, and returns when both are
	// durable: the log is empty and begins after the snapshot's index, and what came before is let go of.
	// It is called in Save's place, and never beside SaveSnapshot. Errors as Save.
	SaveReceived(snapshot *raftpb.Snapshot, state *raftpb.HardState) error
	// FreeBytes returns the space left to the log.
	FreeBytes() (uint64, error)
	// Close syncs the log and lets go of it.
	Close() error
}

// maxTickInterval keeps a slip of units in TickInterval from looking like a hang.
const maxTickInterval = time.Minute

// withDefaults returns o with its zero fields filled, or all that is wrong with it.
func (o Options) withDefaults() (Options, error) {
	o.fill()
	if err := o.validate(); err != nil {
		return Options{}, err
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) fill() {
	setDefault(&o.TickInterval, 100*time.Millisecond)
	setDefault(&o.ElectionTicks, 10)
	setDefault(&o.SnapshotCount, 10_000)
	setDefault(&o.SnapshotBytes, 256<<20)
	setDefault(&o.SnapshotCatchUpEntries, 5_000)
	setDefault(&o.SnapshotCatchUpBytes, 64<<20)
	setDefault(&o.SnapshotSends, 2)
	setDefault(&o.SnapshotSendEntries, 500_000)
	setDefault(&o.SnapshotSendBytes, 512<<20)
	setDefault(&o.MaxSnapshots, 5)
	setDefault(&o.MaxWALs, 5)
	setDefault(&o.MaxBatchEntries, 4_096)
	setDefault(&o.MaxBatchBytes, 8<<20)
	setDefault(&o.MaxApplyBytes, 8<<20)
	setDefault(&o.MaxPendingProposals, 16_384)
	setDefault(&o.MaxPendingBytes, 256<<20)
	setDefault(&o.MaxApplyGap, 5_000)
	setDefault(&o.MinFreeBytes, 64<<20)
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.WALDir == "" && o.DataDir != "" {
		o.WALDir = filepath.Join(o.DataDir, "member", "wal")
	}
}

func (o *Options) validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(o.DataDir == "" && o.Storage == nil, "DataDir is empty")
	fault(o.Start != StartNew && o.Start != StartJoin, "Start %d is unknown", o.Start)
	fault(o.TickInterval < 0 || o.TickInterval > maxTickInterval, "TickInterval %v is not within 0 and %v", o.TickInterval, maxTickInterval)
	fault(o.ElectionTicks < 2, "ElectionTicks %d is below 2", o.ElectionTicks)
	fault(o.SnapshotSends < 1, "SnapshotSends %d is below 1", o.SnapshotSends)
	fault(o.MaxSnapshots < Unlimited, "MaxSnapshots %d is negative", o.MaxSnapshots)
	fault(o.MaxWALs < Unlimited, "MaxWALs %d is negative", o.MaxWALs)
	fault(o.MaxBatchEntries < 1, "MaxBatchEntries %d is below 1", o.MaxBatchEntries)
	fault(o.MaxPendingProposals < 1, "MaxPendingProposals %d is below 1", o.MaxPendingProposals)
	fault(len(o.Peers) > 1 && o.Transport == nil, "%d Peers and no Transport", len(o.Peers))
	fault(raft.IsLocalMsgTarget(o.MemberID), "MemberID %x is reserved", o.MemberID)
	seen := make(map[uint64]bool)
	for _, p := range o.Peers {
		fault(p.ID == 0, "a peer has the id 0")
		fault(seen[p.ID], "peer %x is listed twice", p.ID)
		seen[p.ID] = true
	}
	if len(faults) > 0 {
		return fmt.Errorf("raftlog options: %w", errors.Join(faults...))
	}
	return nil
}

// validateFresh lists what a log without data needs besides.
func (o *Options) validateFresh() error {
	var faults []error
	if o.MemberID == 0 {
		faults = append(faults, errors.New("MemberID is 0"))
	}
	if o.ClusterID == 0 {
		faults = append(faults, errors.New("ClusterID is 0"))
	}
	if o.Start == StartNew {
		found := false
		for _, p := range o.Peers {
			found = found || p.ID == o.MemberID
		}
		if !found {
			faults = append(faults, fmt.Errorf("Peers do not hold this member %x", o.MemberID))
		}
	}
	if o.Start == StartJoin && o.Transport == nil {
		faults = append(faults, errors.New("no Transport to join a cluster by"))
	}
	if len(faults) > 0 {
		return fmt.Errorf("raftlog options for a log without data: %w", errors.Join(faults...))
	}
	return nil
}
