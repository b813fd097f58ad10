// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a log that applies what it is asked for at once, unless it fails
// or holds back.
type recorder struct {
	lessor *Lessor

	mu          sync.Mutex
	fail        error // of RevokeLease and CheckpointLeases
	deposed     error // of ConfirmLeader
	revoked     []int64
	attempts    int
	checkpoints []*pb.LeaseCheckpoint
	hold        chan struct{} // RevokeLease waits for it when set
	holdRecords chan struct{} // CheckpointLeases waits for it when set
	recording   int
	pending     int
	mostPending int
}

func (r *recorder) ConfirmLeader(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deposed
}

func (r *recorder) RevokeLease(ctx context.Context, id int64) error {
	r.mu.Lock()
	r.attempts++
	r.pending++
	r.mostPending = max(r.mostPending, r.pending)
	hold, fail := r.hold, r.fail
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.pending--
		r.mu.Unlock()
	}()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	r.lessor.Revoked(id)
	r.mu.Lock()
	r.revoked = append(r.revoked, id)
	r.mu.Unlock()
	return nil
}

func (r *recorder) CheckpointLeases(ctx context.Context, cps []*pb.LeaseCheckpoint) error {
	r.mu.Lock()
	hold := r.holdRecords
	r.recording++
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	r.recording--
	fail := r.fail
	if fail == nil {
		r.checkpoints = append(r.checkpoints, cps...)
	}
	r.mu.Unlock()
	if fail != nil {
		return fail
	}
	for _, cp := range cps {
		r.lessor.Checkpointed(cp.ID, cp.Remaining_TTL)
	}
	return nil
}

func (r *recorder) set(f func(r *recorder)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

func (r *recorder) revocations() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.revoked)
}

// fixture is a lessor on a fake clock.
type fixture struct {
	*Lessor
	t     *testing.T
	clock *clockwork.FakeClock
	log   *recorder
}

func newFixture(t *testing.T, opts Options, leases ...Lease) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clockwork.NewFakeClock(), log: &recorder{}}
	opts.Clock = f.clock
	le, err := New(opts, leases)
	if err != nil {
		t.Fatal(err)
	}
	f.Lessor, f.log.lessor = le, le
	t.Cleanup(le.Close)
	return f
}

// eventually lets the fake clock stand and the goroutines run until cond holds.
func (f *fixture) eventually(what string, cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			f.t.Fatalf("not reached: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// pass lets d go by in steps, each taken once the sweeper sleeps again.
func (f *fixture) pass(d time.Duration) {
	f.t.Helper()
	const step = 250 * time.Millisecond
	for ; d > 0; d -= step {
		f.eventually("the sweeper sleeps", func() bool {
			if !f.Primary() || len(f.IDs()) == 0 {
				return true
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			return f.clock.BlockUntilContext(ctx, 1) == nil
		})
		f.clock.Advance(min(d, step))
	}
}

// awaitPending returns when a revocation has been proposed and is held back.
func (f *fixture) awaitPending() {
	f.t.Helper()
	f.eventually("a revocation is on its way", func() bool {
		f.log.mu.Lock()
		defer f.log.mu.Unlock()
		return f.log.pending > 0
	})
}

func (f *fixture) lookup(id int64) Info {
	f.t.Helper()
	info, err := f.Lookup(id)
	if err != nil {
		f.t.Fatalf("lease %d: %v", id, err)
	}
	return info
}

func TestExpiryProposesRevocation(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 5}, Lease{ID: 2, TTL: 60})
	f.Promote(f.log, time.Second)

	if got := f.lookup(1); got != (Info{TTL: 5, Left: 6 * time.Second}) {
		t.Fatalf("a new leader extends: got %+v", got)
	}
	f.pass(5750 * time.Millisecond)
	if got := f.log.revocations(); len(got) != 0 {
		t.Fatalf("revoked %v before the deadline", got)
	}
	f.pass(time.Second)
	f.eventually("lease 1 revoked", func() bool { return slices.Equal(f.log.revocations(), []int64{1}) })
	if _, err := f.Lookup(1); !errors.Is(err, ErrNotFound) {
		t.Fatalf("lookup of a revoked lease: %v", err)
	}
	if got := f.IDs(); !slices.Equal(got, []int64{2}) {
		t.Fatalf("leases left: %v", got)
	}
}

func TestGrantOnPrimaryStartsTheClock(t *testing.T) {
	f := newFixture(t, Options{})
	f.Promote(f.log, time.Second)
	f.Granted(Lease{ID: 7, TTL: 3})
	if got := f.lookup(7).Left; got != 3*time.Second {
		t.Fatalf("left %v", got)
	}
	f.pass(4 * time.Second)
	f.eventually("lease 7 revoked", func() bool { return slices.Equal(f.log.revocations(), []int64{7}) })
}

func TestRenewMovesTheDeadline(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 5})
	f.Promote(f.log, 0)
	for range 4 {
		f.pass(4 * time.Second)
		if ttl, err := f.Renew(context.Background(), 1); err != nil || ttl != 5 {
			t.Fatalf("renew: %d, %v", ttl, err)
		}
	}
	if got := f.lookup(1).Left; got != 5*time.Second {
		t.Fatalf("left %v", got)
	}
	if len(f.log.revocations()) != 0 || len(f.log.checkpoints) != 0 {
		t.Fatalf("a renewal reached the log: %v %v", f.log.revoked, f.log.checkpoints)
	}
	if _, err := f.Renew(context.Background(), 99); !errors.Is(err, ErrNotFound) {
		t.Fatalf("renewal of an unknown lease: %v", err)
	}
}

func TestRenewOfExpiredWaitsForRevocation(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 2})
	hold := make(chan struct{})
	f.log.set(func(r *recorder) { r.hold = hold })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	f.awaitPending()

	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Renew(short, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("renewal while the revocation is on its way: %v", err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := f.Renew(context.Background(), 1)
		result <- err
	}()
	close(hold)
	if err := <-result; !errors.Is(err, ErrNotFound) {
		t.Fatalf("renewal of a revoked lease: %v", err)
	}
}

func TestDemoteEndsWaitsAndDeadlines(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 2}, Lease{ID: 2, TTL: 100})
	f.log.set(func(r *recorder) { r.hold = make(chan struct{}) })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	f.awaitPending()
	result := make(chan error, 1)
	go func() {
		_, err := f.Renew(context.Background(), 1)
		result <- err
	}()
	f.Demote()
	if err := <-result; !errors.Is(err, ErrNotPrimary) {
		t.Fatalf("renewal across a demotion: %v", err)
	}
	if _, err := f.Lookup(2); !errors.Is(err, ErrNotPrimary) {
		t.Fatalf("lookup after a demotion: %v", err)
	}
	// The next term starts all deadlines anew.
	f.Promote(f.log, time.Second)
	if got := f.lookup(1).Left; got != 3*time.Second {
		t.Fatalf("left %v", got)
	}
}

func TestFailedRevocationIsRetried(t *testing.T) {
	f := newFixture(t, Options{RetryInterval: 2 * time.Second}, Lease{ID: 1, TTL: 2})
	f.log.set(func(r *recorder) { r.fail = errors.New("no quorum") })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	f.eventually("a first attempt", func() bool {
		f.log.mu.Lock()
		defer f.log.mu.Unlock()
		return f.log.attempts == 1
	})
	f.log.set(func(r *recorder) { r.fail = nil })
	f.eventually("revoked", func() bool {
		f.pass(250 * time.Millisecond) // a sweep passes over it while the first attempt ends
		return slices.Equal(f.log.revocations(), []int64{1})
	})
}

func TestUnconfirmedLeaderRevokesNothing(t *testing.T) {
	f := newFixture(t, Options{RetryInterval: time.Second}, Lease{ID: 1, TTL: 2})
	f.log.set(func(r *recorder) { r.deposed = errors.New("not leader") })
	f.Promote(f.log, 0)
	f.pass(10 * time.Second)
	if f.log.attempts != 0 {
		t.Fatalf("%d revocations by a deposed leader", f.log.attempts)
	}
}

func TestCheckpointsCarryOverToTheNextLeader(t *testing.T) {
	f := newFixture(t, Options{CheckpointInterval: 10 * time.Second},
		Lease{ID: 1, TTL: 100}, Lease{ID: 2, TTL: 10})
	f.Promote(f.log, 0)
	f.pass(9 * time.Second) // lease 2 would end here
	if _, err := f.Renew(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	f.pass(1250 * time.Millisecond)
	f.eventually("a checkpoint of the long lease only", func() bool {
		f.log.mu.Lock()
		defer f.log.mu.Unlock()
		return len(f.log.checkpoints) == 1 && f.log.checkpoints[0].ID == 1 &&
			f.log.checkpoints[0].Remaining_TTL == 90
	})

	f.Demote()
	f.Promote(f.log, time.Second)
	if got := f.lookup(1).Left; got != 91*time.Second {
		t.Fatalf("the next leader gives %v", got)
	}
	// A renewal clears the record, through the log.
	if ttl, err := f.Renew(context.Background(), 1); err != nil || ttl != 100 {
		t.Fatalf("renew: %d %v", ttl, err)
	}
	if got := f.log.checkpoints[len(f.log.checkpoints)-1]; got.ID != 1 || got.Remaining_TTL != 0 {
		t.Fatalf("last checkpoint %v", got)
	}
	if got := f.lookup(1).Left; got != 100*time.Second {
		t.Fatalf("left %v", got)
	}
}

func TestCheckpointsCanBeTurnedOff(t *testing.T) {
	f := newFixture(t, Options{CheckpointInterval: -1}, Lease{ID: 1, TTL: 2000})
	f.Promote(f.log, 0)
	f.pass(20 * time.Second)
	if len(f.log.checkpoints) != 0 {
		t.Fatalf("checkpoints: %v", f.log.checkpoints)
	}
}

func TestRateAndConcurrencyAreBounded(t *testing.T) {
	var leases []Lease
	for id := int64(1); id <= 40; id++ {
		leases = append(leases, Lease{ID: id, TTL: 2})
	}
	f := newFixture(t, Options{RevokeRate: 10, MaxPending: 3}, leases...)
	f.Promote(f.log, 0)

	deadlines := make([]time.Duration, 0, len(leases))
	for _, id := range f.IDs() {
		deadlines = append(deadlines, f.lookup(id).Left)
	}
	for i := 7; i < len(deadlines); i++ { // 7 is three quarters of the rate
		if deadlines[i]-deadlines[i-7] < time.Second {
			t.Fatalf("more than 7 deadlines within a second: %v", deadlines[i-7:i+1])
		}
	}
	f.eventually("all revoked", func() bool {
		f.pass(250 * time.Millisecond)
		return len(f.log.revocations()) == 40
	})
	if f.log.mostPending > 3 {
		t.Fatalf("%d revocations at a time", f.log.mostPending)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	_, err := New(Options{RevokeRate: -1, MaxPending: -1, RetryInterval: -1, SweepInterval: -1}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"RevokeRate", "MaxPending", "RetryInterval", "SweepInterval"} {
		if !containsField(err, field) {
			t.Errorf("%s is not named in %q", field, err)
		}
	}
}

func containsField(err error, field string) bool {
	return slices.ContainsFunc(errorsOf(err), func(e error) bool {
		return len(e.Error()) >= len(field) && e.Error()[:len(field)] == field
	})
}

func errorsOf(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

func TestLongestLeaseDoesNotOverflow(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 9_000_000_000})
	f.Promote(f.log, time.Second)
	if got := f.lookup(1).Left; got < 9_000_000_000*time.Second {
		t.Fatalf("left %v", got)
	}
	f.pass(time.Second)
	if len(f.log.revocations()) != 0 {
		t.Fatal("revoked")
	}
}
