// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog/disk"
)

// Log is a replicated log and what drives it. See DESIGN.md for who does what.
type Log struct {
	opts     Options
	identity disk.Identity
	sm       StateMachine
	storage  Storage
	lock     *disk.Lock // to be released by Stop; nil if the caller holds it
	space    *space
	props    *proposals

	// mu guards raft and whatever goes in and out of it.
	mu             sync.Mutex
	rn             *raft.RawNode
	appends        []queuedAppend    // for the writer
	held           *raftpb.HardState // newer than saved, for the next batch; may be nil
	applies        []*raftpb.Message // for the applier
	outbound       []*raftpb.Message // for the transport
	lastIndex      uint64            // of raft's log
	heartbeats     heartbeatNumbers
	conf           *raftpb.ConfState
	alone          bool // this member is the only voter
	reads          readQueue
	leaderChanged  chan struct{}
	leaderAppeared bool // proposals that waited for a leader can go on
	saving         int  // messages in the batch that is being saved
	stalledTicks   int  // for which one batch has been being saved
	lastTick       time.Time
	refused        bool   // raft does not take proposals at the moment; cleared by a tick
	runID          uint64 // random
	forwarded      uint64 // number of the last MsgProp sent in this run
	forwards       forwards
	deferred       []*raftpb.Message // MsgProps for when raft takes proposals again
	deferredCount  int               // entries of deferred
	deferredBytes  uint64
	changed        logPlace // of the last change of membership that raft was given
	sending        transfers
	offered        *offer            // nil: none
	installing     bool              // raft took in a snapshot that the writer has not taken yet
	restoreDue     bool              // a snapshot is saved that the state machine is not restored from yet
	afterRestore   []*raftpb.Message // responses to raft that must not come before that
	dead           bool              // raft is not to be touched any more

	// sendMu is held while messages go to the transport; taken before mu.
	sendMu sync.Mutex

	mem *memoryLog

	// The writer's: what it takes over from a proposer.
	writer     *role
	writeC     chan struct{}
	unsaved    batch
	unsavedErr error

	// The applier's.
	applier       *role
	applyC        chan struct{}
	unapplied     []*raftpb.Message
	restoring     *batch // a saved snapshot to restore from; the role came with it
	run           []Entry
	retained      []mark
	retainedBytes uint64
	droppable     int // entries applied since the last attempt to drop some
	snapshotIndex uint64
	snapshotBytes uint64 // payload applied since

	snapshotter *role

	manual bool     // nothing runs by itself, see Manual
	jobs   []func() // for Manual.Background

	leader, term, committed, applied, appliedTerm, durable atomic.Uint64
	leads, learner, localReads                             atomic.Bool
	err                                                    atomic.Pointer[error]

	ctx        context.Context // ends when the log dies or Stop gives up waiting
	cancel     context.CancelFunc
	done       chan struct{} // closed when the log dies or stops
	quit       chan struct{} // closed when goroutines are to end
	goroutines sync.WaitGroup
	stop       sync.Once
	stopErr    error
}

// Open reads the log, or begins one, and starts it: entries that sm does not hold are applied to it in the
// background. Before anything is written the options and what is on disk are checked. Errors: all faults
// of opts at once, ErrHeld, *disk.CorruptError, *disk.GapError, *disk.IdentityError, *StateAheadError.
func Open(opts Options, sm StateMachine) (*Log, error) {
	l, err := prepare(opts, sm)
	if err != nil {
		return nil, err
	}
	l.goroutines.Add(3)
	go l.runWriter()
	go l.runApplier()
	go l.runTicker()
	l.mu.Lock()
	l.campaignLocked()
	l.advanceLocked()
	l.unlockAndWake()
	return l, nil
}

// prepare makes an open log that nothing drives yet.
func prepare(opts Options, sm StateMachine) (*Log, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		opts:          opts,
		sm:            sm,
		storage:       opts.Storage,
		props:         newProposals(&opts),
		writer:        newRole(),
		applier:       newRole(),
		snapshotter:   newRole(),
		writeC:        make(chan struct{}, 1),
		applyC:        make(chan struct{}, 1),
		leaderChanged: make(chan struct{}),
		done:          make(chan struct{}),
		quit:          make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.lastTick = opts.Clock.Now()
	if l.runID, err = newRunID(); err != nil {
		return nil, err
	}
	l.reads.seq = l.runID
	l.sending = transfers{byMember: make(map[uint64]*transfer), pins: make(map[uint64]uint64)}
	if l.storage == nil {
		l.storage = disk.New(disk.Options{
			WALDir:        opts.WALDir,
			SnapDir:       filepath.Join(opts.DataDir, "member", "snap"),
			MaxWALs:       opts.MaxWALs,
			MaxSnapshots:  opts.MaxSnapshots,
			UnsafeNoFsync: opts.UnsafeNoFsync,
			Logger:        opts.Logger,
		})
	}
	l.space = &space{clock: opts.Clock, log: opts.Logger, free: l.storage.FreeBytes, reserve: opts.MinFreeBytes}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.lock.Release())
	}
	return l, nil
}

// open takes hold of the data, recovers what is there and makes a raft node of it.
func (l *Log) open() error {
	_, found, err := l.storage.Identity()
	if err != nil {
		return err
	}
	if !found {
		if err := l.opts.validateFresh(); err != nil {
			return err
		}
	}
	if l.opts.Lock == nil && l.opts.Storage == nil {
		if l.lock, err = disk.LockDir(l.opts.DataDir); err != nil {
			return err
		}
	}
	applied, conf := l.sm.Applied()
	rec, err := l.storage.Open(disk.Identity{MemberID: l.opts.MemberID, ClusterID: l.opts.ClusterID}, applied)
	if err != nil {
		return err
	}
	if err := l.startRaft(rec, applied, conf); err != nil {
		return errors.Join(err, l.storage.Close())
	}
	return nil
}

// startRaft makes a raft node of what was recovered, and founds the cluster if nothing was.
func (l *Log) startRaft(rec *disk.Recovered, applied uint64, conf *raftpb.ConfState) error {
	l.identity = rec.Identity
	// A log whose first save was cut short holds nothing that anybody was promised.
	fresh := raft.IsEmptyHardState(rec.HardState) && rec.Snapshot.GetIndex() == 0 && applied == 0
	if fresh {
		rec.Entries = nil
		if err := l.opts.validateFresh(); err != nil {
			return err
		}
	}
	if l.opts.ForceNewCluster && !fresh {
		if err := l.forceAlone(rec, applied, conf); err != nil {
			return err
		}
	}
	mem, err := newMemoryLog(rec, applied, conf)
	if err != nil {
		return err
	}
	l.mem = mem
	mem.applied = l.appliedLocked
	if l.lastIndex, err = mem.LastIndex(); err != nil {
		return fmt.Errorf("raftlog: end of the log: %w", err)
	}
	l.rn, err = raft.NewRawNode(l.raftConfig(applied))
	if err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.applied.Store(applied)
	l.durable.Store(applied)
	if applied > 0 {
		term, err := mem.Term(applied)
		if err != nil {
			return fmt.Errorf("raftlog: term of entry %d: %w", applied, err)
		}
		l.appliedTerm.Store(term)
	}
	l.snapshotIndex = rec.Snapshot.GetIndex()
	l.term.Store(rec.HardState.GetTerm())
	l.committed.Store(max(rec.HardState.GetCommit(), applied))
	l.retainFrom(applied)
	l.setConfLocked(mem.conf)
	if fresh && l.opts.Start == StartNew {
		if err := l.rn.Bootstrap(l.opts.Peers); err != nil {
			return fmt.Errorf("raftlog: found the cluster: %w", err)
		}
	}
	l.opts.Logger.Info("opened the log",
		zap.String("member-id", fmt.Sprintf("%x", rec.Identity.MemberID)),
		zap.String("cluster-id", fmt.Sprintf("%x", rec.Identity.ClusterID)),
		zap.Uint64("snapshot-index", rec.Snapshot.GetIndex()),
		zap.Uint64("applied-index", applied),
		zap.Uint64("commit-index", l.committed.Load()),
		zap.Int("entries", len(rec.Entries)))
	return nil
}

// appliedLocked returns what raft takes for the snapshot that it can send. It is called by raft.
func (l *Log) appliedLocked() *raftpb.SnapshotMetadata {
	index := l.applied.Load()
	term, err := l.mem.Term(index)
	if err != nil || l.opts.Transport == nil {
		return nil
	}
	return &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: l.conf}
}

// Bounds of raft's messages to peers, as etcd has them, so that neither side overruns the other.
const (
	maxMessageBytes     = 1 << 20
	maxInflightMessages = 512
)

func (l *Log) raftConfig(applied uint64) *raft.Config {
	return &raft.Config{
		ID:                       l.identity.MemberID,
		ElectionTick:             l.opts.ElectionTicks,
		HeartbeatTick:            1,
		Storage:                  l.mem,
		Applied:                  applied,
		AsyncStorageWrites:       true,
		MaxSizePerMsg:            maxMessageBytes,
		MaxCommittedSizePerReady: l.opts.MaxApplyBytes,
		// Bounded by MaxPendingBytes before they come to raft.
		MaxUncommittedEntriesSize: math.MaxUint64,
		MaxInflightMsgs:           maxInflightMessages,
		CheckQuorum:               true,
		PreVote:                   !l.opts.DisablePreVote,
		StepDownOnRemoval:         true,
		Logger:                    newRaftLogger(l.opts.Logger),
	}
}

// die ends the log for good: nothing is acknowledged any more.
func (l *Log) die(err error) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return
	}
	if err != nil {
		l.err.Store(&err)
		l.opts.Logger.Error("the log has died", zap.Error(err))
	}
	l.dead = true
	l.localReads.Store(false)
	l.reads.finishAllLocked(ErrStopped)
	installing, o := l.installing, l.offered
	l.installing, l.offered = false, nil
	if o != nil {
		o.done <- ErrStopped
	}
	close(l.done)
	l.mu.Unlock()
	if installing {
		l.abandonInstall()
	}
	l.cancel()
	l.props.abandon(ErrStopped)
}
