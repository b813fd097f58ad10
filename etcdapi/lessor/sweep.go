// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// stallTolerance is how late the sweeper may wake before that counts as a stall
// of the process.
const stallTolerance = time.Second

// run sweeps whenever something is due, not more often than SweepInterval. While
// there are deadlines it wakes that often, to notice when the process was held
// up; otherwise it sleeps.
func (le *Lessor) run(t *term) {
	defer le.background.Done()
	clock := le.opts.Clock
	var jobs sync.WaitGroup
	defer jobs.Wait()
	revoking, recording := newJob(&jobs), newJob(&jobs)

	wake := clock.Now() // when the timer is to go off; zero: there is none
	timer := clock.NewTimer(0)
	defer func() { timer.Stop() }()
	for swept := wake.Add(-le.opts.SweepInterval); ; {
		select {
		case <-timer.Chan():
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		timer.Stop()
		now := clock.Now()
		if late := now.Sub(wake); !wake.IsZero() && late >= stallTolerance {
			le.postpone(t, late)
		}
		next, ok := le.nextDue(t)
		if ok && !next.After(now) && now.Sub(swept) >= le.opts.SweepInterval {
			swept = now
			// If one is still at it, the next sweep finds what is due.
			revoking.start(func() { le.revoke(t, le.expired(t)) })
			recording.start(func() { le.checkpointDue(t) })
		}
		if wake = (time.Time{}); ok {
			wake = now.Add(le.opts.SweepInterval)
			if earliest := swept.Add(le.opts.SweepInterval); next.Before(wake) && earliest.Before(wake) {
				wake = latest(next, earliest)
			}
			timer = clock.NewTimer(wake.Sub(now))
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// postpone moves everything that is due in t by a time in which the process did
// nothing, clients' renewals included. Revocations that are on their way stay.
func (le *Lessor) postpone(t *term, by time.Duration) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return
	}
	le.opts.Logger.Warn("the process was held up, leases are extended",
		zap.Duration("by", by), zap.Int("leases", len(le.leases)))
	for _, l := range le.leases {
		if l.revoking == nil {
			le.setDeadline(l, l.deadline.Add(by))
		}
	}
}

// job is work that one goroutine does at a time.
type job struct {
	all  *sync.WaitGroup
	busy chan struct{} // holds a token meanwhile
}

func newJob(all *sync.WaitGroup) job { return job{all: all, busy: make(chan struct{}, 1)} }

// start begins the work unless it is being done.
func (j job) start(work func()) {
	select {
	case j.busy <- struct{}{}:
	default:
		return
	}
	j.all.Go(func() {
		defer func() { <-j.busy }()
		work()
	})
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
		if first.lease.revoking == nil {
			first.lease.revoking = make(chan struct{})
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
		le.spare(t, ids)
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
			if errors.Is(err, ErrRefused) {
				le.spare(t, []int64{id})
			}
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

// spare lets leases be renewed whose revocation was not proposed.
func (le *Lessor) spare(t *term, ids []int64) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return
	}
	for _, id := range ids {
		if l := le.leases[id]; l != nil && l.revoking != nil {
			close(l.revoking)
			l.revoking = nil
		}
	}
}
