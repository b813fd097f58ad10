// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Errors of a Lessor.
var (
	// ErrNotFound names a lease that was never granted, or is revoked.
	ErrNotFound = errors.New("lessor: lease not found")
	// ErrNotPrimary says that this node is not the leader, whose clock counts.
	ErrNotPrimary = errors.New("lessor: not primary")
	// ErrRefused is for a Proposer: a revocation that is not in the log, or had no
	// effect there.
	ErrRefused = errors.New("lessor: revocation refused")
)

// Proposer puts the lessor's wishes into the log, in the term of one leadership:
// what it proposes must not enter the log in another one.
type Proposer interface {
	// ConfirmLeader returns nil when this node was still the leader after the call.
	ConfirmLeader(ctx context.Context) error
	// RevokeLease returns when the revocation is applied; a lease that is gone
	// already is no error. On any other error than ErrRefused it may be applied still.
	RevokeLease(ctx context.Context, id int64) error
	// CheckpointLeases returns when the remaining times are applied; they are in
	// the order of the calls that do not overlap.
	CheckpointLeases(ctx context.Context, checkpoints []*pb.LeaseCheckpoint) error
}

// Lease is what the store says about a lease. Times are in seconds.
type Lease struct {
	ID int64
	// TTL is the granted time to live.
	TTL int64
	// Remaining is the last checkpoint, 0 when there is none.
	Remaining int64
}

// Info is what the primary says about a lease.
type Info struct {
	// TTL is the granted time to live in seconds.
	TTL int64
	// Left is the time to the deadline; negative while the revocation is on its way.
	Left time.Duration
}

// lease is a Lease with its timers. Lessor.mu guards it.
type lease struct {
	Lease
	expiry     timer // its due time is the deadline, or a retry once that has passed
	deadline   time.Time
	checkpoint timer

	// recording is not nil while a remaining time is on its way into the log, and
	// closed when that is over. uncertain: it may be in the log although an error
	// said otherwise.
	recording chan struct{}
	uncertain bool
	// revoking is not nil from when the revocation may be in the log; it is closed
	// if it turns out that it is not.
	revoking chan struct{}
	revoked  chan struct{} // closed when the lease is gone
}

// left is the lifetime in seconds that a fresh deadline gives.
func (l *lease) left() int64 {
	if l.Remaining > 0 {
		return l.Remaining
	}
	return l.TTL
}

// Lessor keeps the deadlines of leases. All methods may be called from any
// goroutine; none but Renew and Close blocks.
type Lessor struct {
	opts Options

	mu          sync.Mutex
	leases      map[int64]*lease
	expiries    schedule
	checkpoints schedule
	term        *term // nil unless primary

	background sync.WaitGroup
}

// term is one period as primary.
type term struct {
	proposer Proposer
	ctx      context.Context // ended by Demote and Close
	cancel   context.CancelFunc
	wake     chan struct{} // holds a token when an earlier deadline appeared
}

// New returns a lessor that knows the given leases and is not primary.
func New(opts Options, leases []Lease) (*Lessor, error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("lessor options: %w", err)
	}
	le := &Lessor{opts: opts, leases: make(map[int64]*lease, len(leases))}
	for _, l := range leases {
		le.Restore(l)
	}
	return le, nil
}

// Promote makes the lessor primary: all leases get a deadline, their remaining
// time and extend from now, spread so that no second revokes more than three
// quarters of RevokeRate. p is used until Demote or Close. Nothing happens when
// it is primary already.
func (le *Lessor) Promote(p Proposer, extend time.Duration) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	le.term = &term{proposer: p, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
	now := le.opts.Clock.Now()
	for _, l := range le.leases {
		// All that an earlier term left on its way is applied or lost.
		l.recording, l.revoking, l.uncertain = nil, nil, false
		le.refresh(l, now, extend)
		le.scheduleCheckpoint(l, now)
	}
	le.spread()
	le.background.Add(1)
	go le.run(le.term)
}

// spread moves deadlines apart so that those of any one second can be served.
func (le *Lessor) spread() {
	perSecond := max(1, 3*le.opts.RevokeRate/4)
	if len(le.leases) <= perSecond {
		return
	}
	order := make([]*lease, 0, len(le.leases))
	for _, l := range le.leases {
		order = append(order, l)
	}
	slices.SortFunc(order, func(a, b *lease) int {
		return cmp.Or(a.deadline.Compare(b.deadline), cmp.Compare(a.ID, b.ID))
	})
	for i := perSecond; i < len(order); i++ {
		if earliest := order[i-perSecond].deadline.Add(time.Second); order[i].deadline.Before(earliest) {
			le.setDeadline(order[i], earliest)
		}
	}
}

// Demote takes all deadlines away, until the next Promote.
func (le *Lessor) Demote() {
	le.mu.Lock()
	defer le.mu.Unlock()
	le.demoteLocked()
}

// Reset forgets all leases: the store has another content now, whose leases are
// told by Restore. It demotes, for a leader's store is never replaced.
func (le *Lessor) Reset() {
	le.mu.Lock()
	defer le.mu.Unlock()
	le.demoteLocked()
	clear(le.leases)
}

func (le *Lessor) demoteLocked() {
	if le.term == nil {
		return
	}
	le.term.cancel()
	le.term = nil
	le.expiries.clear()
	le.checkpoints.clear()
}

// Close demotes the lessor and waits for what it started.
func (le *Lessor) Close() {
	le.Demote()
	le.background.Wait()
}

// Granted tells of a lease that was just granted.
func (le *Lessor) Granted(l Lease) {
	le.opts.Metrics.Granted.Inc()
	le.opts.Metrics.TTL.Observe(float64(l.TTL))
	le.Restore(l)
}

// Restore tells of a lease that the store has. A lease that is known already
// keeps its deadline.
func (le *Lessor) Restore(granted Lease) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.leases[granted.ID] != nil {
		return
	}
	l := &lease{Lease: granted, revoked: make(chan struct{})}
	l.expiry = timer{lease: l, index: -1}
	l.checkpoint = timer{lease: l, index: -1}
	le.leases[l.ID] = l
	if le.term != nil {
		now := le.opts.Clock.Now()
		le.refresh(l, now, 0)
		le.scheduleCheckpoint(l, now)
	}
}

// Revoked tells of a lease that the store no longer has.
func (le *Lessor) Revoked(id int64) {
	le.mu.Lock()
	defer le.mu.Unlock()
	l := le.leases[id]
	if l == nil {
		return
	}
	le.opts.Metrics.Revoked.Inc()
	delete(le.leases, id)
	le.expiries.remove(&l.expiry)
	le.checkpoints.remove(&l.checkpoint)
	close(l.revoked)
}

// Checkpointed tells of a remaining time, in seconds, that the store has
// recorded. Deadlines that are running are not changed by it.
func (le *Lessor) Checkpointed(id, remaining int64) {
	le.mu.Lock()
	defer le.mu.Unlock()
	l := le.leases[id]
	if l == nil {
		return
	}
	l.Remaining = remaining
	if le.term != nil {
		le.scheduleCheckpoint(l, le.opts.Clock.Now())
	}
}

// refresh gives l a new deadline.
func (le *Lessor) refresh(l *lease, now time.Time, extend time.Duration) {
	le.setDeadline(l, now.Add(extend+seconds(l.left())))
}

func (le *Lessor) setDeadline(l *lease, deadline time.Time) {
	l.deadline = deadline
	le.setTimer(&le.expiries, &l.expiry, deadline)
}

// setTimer wakes the sweeper when the timer became the first of its schedule.
func (le *Lessor) setTimer(s *schedule, t *timer, due time.Time) {
	s.set(t, due)
	if s.first() != t {
		return
	}
	select {
	case le.term.wake <- struct{}{}:
	default: // it has not taken the last token yet
	}
}

// seconds is a duration without overflow: the largest TTL is 285 years, just
// below what a Duration holds.
func seconds(n int64) time.Duration {
	const most = int64((1<<63 - 1) / time.Second)
	return time.Duration(min(n, most)) * time.Second
}
