// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"fmt"
	"math"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// run sweeps whenever something is due, not more often than SweepInterval, and
// sleeps without waking otherwise.
func (le *Lessor) run(t *term) {
	defer le.background.Done()
	clock := le.opts.Clock
	timer := clock.NewTimer(0)
	defer func() { timer.Stop() }()

	var revoking sync.WaitGroup
	defer revoking.Wait()
	busy := make(chan struct{}, 1) // holds a token while revocations are on their way

	last := clock.Now().Add(-le.opts.SweepInterval)
	for {
		select {
		case <-timer.Chan():
			last = clock.Now()
			le.checkpointDue(t)
			select {
			case busy <- struct{}{}:
				revoking.Go(func() {
					defer func() { <-busy }()
					le.revoke(t, le.expired(t))
				})
			default: // the next sweep finds what has expired
			}
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		timer.Stop()
		if next, ok := le.nextDue(t); ok {
			if earliest := last.Add(le.opts.SweepInterval); next.Before(earliest) {
				next = earliest
			}
			timer = clock.NewTimer(next.Sub(clock.Now()))
		}
	}
}

// nextDue returns when the first timer is due.
func (le *Lessor) nextDue(t *term) (due time.Time, ok bool) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return time.Time{}, false
	}
	if first := le.expiries.first(); first != nil {
		due, ok = first.due, true
	}
	if first := le.checkpoints.first(); first != nil && (!ok || first.due.Before(due)) {
		due, ok = first.due, true
	}
	return due, ok
}

// expired returns the leases whose deadline has passed, within the budget of
// one sweep, and has them looked at again after RetryInterval.
func (le *Lessor) expired(t *term) []int64 {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return nil
	}
	now := le.opts.Clock.Now()
	var ids []int64
	for budget := le.opts.sweepBudget(); len(ids) < budget; {
		first := le.expiries.first()
		if first == nil || now.Before(first.due) {
			break
		}
		ids = append(ids, first.lease.ID)
		le.expiries.set(first, now.Add(le.opts.RetryInterval))
	}
	return ids
}

// revoke proposes the revocation of ids, MaxPending at a time, and waits.
func (le *Lessor) revoke(t *term, ids []int64) {
	if len(ids) == 0 {
		return
	}
	lg := le.opts.Logger
	// A leader that was cut off or stalled may not know that it is none any more.
	if err := t.proposer.ConfirmLeader(t.ctx); err != nil {
		if t.ctx.Err() == nil {
			lg.Warn("not revoking leases: leadership is not confirmed",
				zap.Int("leases", len(ids)), zap.Error(err))
		}
		return
	}
	slots := make(chan struct{}, le.opts.MaxPending)
	var pending sync.WaitGroup
	defer pending.Wait()
	for _, id := range ids {
		select {
		case slots <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		pending.Add(1)
		go func() {
			defer pending.Done()
			defer func() { <-slots }()
			err := t.proposer.RevokeLease(t.ctx, id)
			switch {
			case err == nil:
				le.opts.Metrics.Expired.Inc()
			case t.ctx.Err() == nil:
				lg.Warn("failed to revoke lease",
					zap.String("lease-id", fmt.Sprintf("%016x", id)), zap.Error(err))
			}
		}()
	}
}

// checkpointDue proposes the remaining times that are due.
func (le *Lessor) checkpointDue(t *term) {
	for {
		due := le.dueCheckpoints(t)
		if len(due) == 0 {
			return
		}
		if err := t.proposer.CheckpointLeases(t.ctx, due); err != nil {
			if t.ctx.Err() == nil {
				le.opts.Logger.Warn("failed to checkpoint leases",
					zap.Int("leases", len(due)), zap.Error(err))
			}
			return
		}
	}
}

// dueCheckpoints returns up to checkpointBatch remaining times that are due and
// plans the next ones.
func (le *Lessor) dueCheckpoints(t *term) []*pb.LeaseCheckpoint {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return nil
	}
	now := le.opts.Clock.Now()
	var due []*pb.LeaseCheckpoint
	for len(due) < checkpointBatch {
		first := le.checkpoints.first()
		if first == nil || now.Before(first.due) {
			break
		}
		l := first.lease
		le.checkpoints.remove(first)
		remaining := int64(math.Ceil(l.deadline.Sub(now).Seconds()))
		if remaining <= 0 {
			continue // about to be revoked
		}
		le.scheduleCheckpoint(l, now)
		if remaining < l.TTL {
			due = append(due, &pb.LeaseCheckpoint{ID: l.ID, Remaining_TTL: remaining})
		}
	}
	return due
}
