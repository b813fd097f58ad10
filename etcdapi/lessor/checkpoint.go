// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"context"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// scheduleCheckpoint plans the next record of l's remaining time, if it lives
// long enough for one.
func (le *Lessor) scheduleCheckpoint(l *lease, now time.Time) {
	interval := le.opts.CheckpointInterval
	if interval < 0 || seconds(l.left()) <= interval {
		return
	}
	le.setTimer(&le.checkpoints, &l.checkpoint, now.Add(interval))
}

// checkpointDue proposes the remaining times that are due.
func (le *Lessor) checkpointDue(t *term) {
	for {
		b := le.dueCheckpoints(t)
		if len(b.records) == 0 {
			return
		}
		err := t.proposer.CheckpointLeases(t.ctx, b.records)
		le.recorded(b, err)
		if err != nil {
			if t.ctx.Err() == nil {
				le.opts.Logger.Warn("failed to checkpoint leases", zap.Int("leases", len(b.records)), zap.Error(err))
			}
			return
		}
	}
}

// checkpoints are remaining times that are proposed together.
type checkpoints struct {
	records []*pb.LeaseCheckpoint
	leases  []*lease
	over    chan struct{} // closed when they are applied, or not
}

// dueCheckpoints returns up to checkpointBatch remaining times that are due and
// plans the next ones.
func (le *Lessor) dueCheckpoints(t *term) checkpoints {
	b := checkpoints{over: make(chan struct{})}
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return b
	}
	now := le.opts.Clock.Now()
	for len(b.records) < checkpointBatch {
		first := le.checkpoints.first()
		if first == nil || now.Before(first.due) {
			break
		}
		l := first.lease
		le.checkpoints.remove(first)
		remaining := int64(math.Ceil(l.deadline.Sub(now).Seconds()))
		if remaining <= 0 || l.revoking != nil {
			continue // about to be revoked
		}
		le.scheduleCheckpoint(l, now)
		if remaining < l.TTL {
			l.recording = b.over
			b.leases = append(b.leases, l)
			b.records = append(b.records, &pb.LeaseCheckpoint{ID: l.ID, Remaining_TTL: remaining})
		}
	}
	return b
}

// recorded notes what became of checkpoints.
func (le *Lessor) recorded(b checkpoints, err error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	for _, l := range b.leases {
		if l.recording == b.over { // and not in another term meanwhile
			l.recording = nil
			l.uncertain = l.uncertain || err != nil
		}
	}
	close(b.over)
}

// clearRecord makes the log forget the remaining time of a lease that is renewed:
// the next leader would count from it. Only a lease that has one needs an entry,
// at most once a checkpoint interval. One that is on its way is waited for; the
// entry that clears it must come after it.
func (le *Lessor) clearRecord(ctx context.Context, r renewal) error {
	if r.recording != nil {
		select {
		case <-r.recording:
		case <-r.term.ctx.Done():
			return ErrNotPrimary
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if !r.recorded && r.recording == nil {
		return nil
	}
	if err := r.term.proposer.CheckpointLeases(ctx, []*pb.LeaseCheckpoint{{ID: r.lease.ID}}); err != nil {
		return err
	}
	le.mu.Lock()
	defer le.mu.Unlock()
	r.lease.uncertain = false
	return nil
}
