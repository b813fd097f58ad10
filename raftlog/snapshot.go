// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog/disk"
)

// maybeSnapshot begins a snapshot when enough was applied since the last. It is made in the background, one at
// a time; what it says of the membership is taken now, in the path of applying.
func (l *Log) maybeSnapshot(bytes uint64) {
	l.snapshotBytes += bytes
	index := l.applied.Load()
	if index-l.snapshotIndex < l.opts.SnapshotCount && l.snapshotBytes < l.opts.SnapshotBytes {
		return
	}
	if !l.snapshotter.acquire() {
		return // the last one is still being made; try again after the next batch
	}
	data, err := l.sm.SnapshotData()
	l.snapshotIndex, l.snapshotBytes = index, 0
	if err != nil {
		l.endSnapshot()
		l.snapshotFailed(index, err)
		return
	}
	l.mu.Lock()
	conf := l.conf
	l.mu.Unlock()
	s := &raftpb.Snapshot{
		Data:     data,
		Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(l.appliedTerm.Load()), ConfState: conf},
	}
	l.background(func() { l.snapshot(s) })
}

// snapshot makes the state machine durable and then lets go of the log before it (invariant 3).
func (l *Log) snapshot(s *raftpb.Snapshot) {
	defer l.endSnapshot()
	start, index := l.opts.Clock.Now(), s.GetMetadata().GetIndex()
	durable, err := l.persist()
	if err == nil && durable < index {
		err = fmt.Errorf("the state machine is durable up to %d only", durable)
	}
	final := false
	if err == nil {
		err = l.storage.SaveSnapshot(s)
		final = err != nil && !errors.Is(err, disk.ErrNotSaved) && !errors.Is(err, disk.ErrNotPurged)
	}
	if err != nil {
		l.snapshotFailed(index, err)
	}
	if final {
		l.die(fmt.Errorf("save the log: %w", err)) // it is the log's file that cannot be written
	}
	if err != nil {
		return
	}
	took := l.opts.Clock.Now().Sub(start)
	l.opts.Logger.Info("saved snapshot to disk", zap.Uint64("snapshot-index", index), zap.Uint64("durable-index", durable), zap.Duration("took", took))
	if l.opts.Events.SnapshotSaved != nil {
		l.opts.Events.SnapshotSaved(SnapshotInfo{Index: index, Durable: durable, Took: took})
	}
}

// endSnapshot gives up the snapshotter's role. Whoever asked for it meanwhile will ask again after the next batch;
// a snapshot from another member is looked at now.
func (l *Log) endSnapshot() {
	for !l.snapshotter.release() {
	}
	l.mu.Lock()
	offered := l.offered != nil
	l.mu.Unlock()
	if offered {
		l.wakeApplier()
	}
}

// persist makes the state machine durable and returns up to where.
func (l *Log) persist() (uint64, error) {
	durable, err := l.sm.Persist(l.ctx)
	if err != nil {
		return 0, fmt.Errorf("make the state machine durable: %w", err)
	}
	l.durable.Store(max(durable, l.durable.Load()))
	return durable, nil
}

func (l *Log) snapshotFailed(index uint64, err error) {
	l.opts.Logger.Error("cannot snapshot", zap.Uint64("snapshot-index", index), zap.Error(err))
	if l.opts.Events.SnapshotFailed != nil {
		l.opts.Events.SnapshotFailed(err)
	}
}
