// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// A snapshot from another member replaces log and state machine. Nothing may be applied, and no snapshot made,
// from the moment that raft takes it in, because raft then has the snapshot's configuration already, until the
// state machine is restored. So raft is given it by the holder of the applier's role, once everything that raft
// handed out is applied, and that role and the snapshotter's stay with the *installation*:
//
//	Step        offers it, and waits for raft's answer
//	applier     when nothing is left to apply: gives it to raft; if raft takes it, keeps the role
//	writer      saves it in its turn; hands the role to the applier goroutine
//	applier     restores the state machine; tells raft; goes on as ever
//
// While the state machine is being restored, which may take long, the writer saves what comes after, and other members
// are told: the member votes, and stores entries. But raft itself must hear of these after it hears of the snapshot.

// offer is a received MsgSnap that raft was not given yet. Whoever clears Log.offered answers it, or is the one who
// waits for the answer: whether raft took a snapshot, and so needs its content, must never be in doubt.
type offer struct {
	message *raftpb.Message
	done    chan error // buffered; sent raft's answer, or why raft was not asked
}

// stepSnapshot gives raft a MsgSnap, whose content was received before, and waits until raft has looked at it.
func (l *Log) stepSnapshot(ctx context.Context, m *raftpb.Message) error {
	o := &offer{message: m, done: make(chan error, 1)}
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return ErrStopped
	}
	if err := l.inspectLocked(m); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.offered != nil {
		l.mu.Unlock()
		return ErrStateTransfer
	}
	l.offered = o
	l.mu.Unlock()
	if l.manual {
		return l.stepSnapshotNow(o)
	}
	l.wakeApplier()
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		if l.withdraw(o) {
			return ctx.Err()
		}
		return <-o.done
	}
}

// withdraw takes an offer back. On false it is being answered.
func (l *Log) withdraw(o *offer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.offered != o {
		return false
	}
	l.offered = nil
	return true
}

// takeOffered gives raft the snapshot that is offered, if there is one. The caller holds the applier's role and has
// applied all it took; on true it does not hold the role any more.
func (l *Log) takeOffered() bool {
	l.mu.Lock()
	o := l.offered
	// If the snapshotter is at work, it wakes the applier when it has done.
	if o == nil || l.dead || len(l.applies) > 0 || !l.snapshotter.acquire() {
		l.mu.Unlock()
		return false
	}
	l.offered = nil
	err := l.rn.Step(o.message)
	l.advanceLocked()
	installing := l.installing
	l.unlockAndWake()
	if !installing {
		l.endSnapshot()
	}
	o.done <- err
	return installing
}

// beginInstallLocked notes that raft has taken in a snapshot, which is queued to be saved.
func (l *Log) beginInstallLocked(s *raftpb.Snapshot) {
	l.installing = true
	l.setConfLocked(s.GetMetadata().GetConfState())
}

// restoreLaterLocked hands a saved snapshot, and the applier's role with it, to the applier goroutine.
func (l *Log) restoreLaterLocked(b batch) {
	l.restoring, l.restoreDue = &b, true
	if !l.manual {
		l.applyC <- struct{}{}
	}
}

// restore replaces the state machine's content by the snapshot that was saved, and tells raft. The caller holds the
// applier's role.
func (l *Log) restore() {
	b := l.restoring
	l.restoring = nil
	defer l.endSnapshot()
	if l.isDead() {
		return
	}
	start, at := l.opts.Clock.Now(), b.snapshot.GetMetadata()
	if err := l.sm.Restore(l.ctx, b.snapshot); err != nil {
		l.die(fmt.Errorf("restore the state machine from snapshot %d: %w", at.GetIndex(), err))
		return
	}
	l.setApplied(at.GetIndex(), at.GetTerm())
	l.durable.Store(max(at.GetIndex(), l.durable.Load()))
	l.snapshotIndex, l.snapshotBytes = at.GetIndex(), 0
	l.retainFrom(at.GetIndex())
	l.props.failEntered(at.GetTerm(), ErrResultUnknown)
	info := RestoreInfo{Index: at.GetIndex(), Took: l.opts.Clock.Now().Sub(start)}
	l.opts.Logger.Info("restored the state machine from a snapshot", zap.Uint64("snapshot-index", info.Index), zap.Duration("took", info.Took))
	if l.opts.Events.SnapshotRestored != nil {
		l.opts.Events.SnapshotRestored(info)
	}
	l.tellRestored(b.messages[0])
}

// tellRestored delivers the responses of the message that carried a snapshot, and then those that had to wait for it.
func (l *Log) tellRestored(m *raftpb.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.restoreDue = false
	l.stepResponsesLocked(m)
	for _, r := range l.afterRestore {
		l.stepLocalLocked(r)
	}
	l.afterRestore = nil
	l.reads.appliedLocked(l)
}

func (l *Log) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// abandonInstall lets go of the roles of an installation that will never be saved. The log has died.
func (l *Log) abandonInstall() {
	l.endSnapshot()
	if l.manual {
		return
	}
	for !l.applier.release() {
	}
}
