// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// recordings returns the number of checkpoints on their way.
func (r *recorder) recordings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recording
}

// lastCheckpoint returns what the log holds last.
func (r *recorder) lastCheckpoint() *pb.LeaseCheckpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.checkpoints) == 0 {
		return nil
	}
	return r.checkpoints[len(r.checkpoints)-1]
}

// renew renews a lease in the background.
func (f *fixture) renew(id int64) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := f.Renew(context.Background(), id)
		result <- err
	}()
	return result
}

func TestHeldUpProcessRevokesNothing(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 10}, Lease{ID: 2, TTL: 100})
	f.Promote(f.log, 0)
	f.pass(4 * time.Second)
	f.clock.Advance(time.Minute) // at once, as SIGSTOP and SIGCONT have it
	f.eventually("the time is added", func() bool { return f.lookup(1).Left > 5*time.Second })
	f.pass(5 * time.Second)
	if got := f.log.revocations(); len(got) != 0 {
		t.Fatalf("revoked %v", got)
	}
	if got := f.lookup(2).Left; got > 92*time.Second || got < 90*time.Second {
		t.Fatalf("lease 2 has %v left", got)
	}
	// It is a delay, no pardon.
	f.pass(3 * time.Second)
	f.eventually("lease 1 revoked", func() bool { return len(f.log.revocations()) == 1 })
}

func TestHeldUpProcessKeepsRevocationsOnTheirWay(t *testing.T) {
	f := newFixture(t, Options{RetryInterval: time.Hour}, Lease{ID: 1, TTL: 2})
	hold := make(chan struct{})
	f.log.set(func(r *recorder) { r.hold = hold })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	f.awaitPending()
	f.clock.Advance(time.Minute)
	f.pass(time.Second)
	result := f.renew(1)
	close(hold)
	if err := <-result; !errors.Is(err, ErrNotFound) {
		t.Fatalf("renewal of a lease that is being revoked: %v", err)
	}
}

func TestRenewalCountsFromItsArrival(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 10, Remaining: 4})
	hold := make(chan struct{})
	f.log.set(func(r *recorder) { r.holdRecords = hold })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	result := f.renew(1)
	f.eventually("the checkpoint is being cleared", func() bool { return f.log.recordings() == 1 })
	f.pass(5 * time.Second) // past the deadline that it had
	if got := f.log.revocations(); len(got) != 0 {
		t.Fatalf("revoked %v while its renewal waited for the log", got)
	}
	close(hold)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if got := f.lookup(1).Left; got != 5*time.Second {
		t.Fatalf("left %v", got)
	}
}

func TestRenewalOutlivesCheckpointOnItsWay(t *testing.T) {
	f := newFixture(t, Options{CheckpointInterval: 10 * time.Second}, Lease{ID: 1, TTL: 100})
	hold := make(chan struct{})
	f.log.set(func(r *recorder) { r.holdRecords = hold })
	f.Promote(f.log, 0)
	f.pass(11 * time.Second)
	f.eventually("a checkpoint is on its way", func() bool { return f.log.recordings() == 1 })
	result := f.renew(1)
	select {
	case err := <-result:
		t.Fatalf("the renewal did not wait for the checkpoint: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	close(hold)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if got := f.log.lastCheckpoint(); got.Remaining_TTL != 0 {
		t.Fatalf("the log ends with %v", got)
	}
}

func TestCheckpointOfUnknownOutcomeIsCleared(t *testing.T) {
	f := newFixture(t, Options{CheckpointInterval: 10 * time.Second}, Lease{ID: 1, TTL: 100})
	hold := make(chan struct{})
	f.log.set(func(r *recorder) { r.fail, r.holdRecords = errors.New("timed out"), hold })
	f.Promote(f.log, 0)
	f.pass(11 * time.Second)
	f.eventually("a checkpoint is on its way", func() bool { return f.log.recordings() == 1 })
	close(hold)
	f.eventually("it failed", func() bool { return f.log.recordings() == 0 })
	f.log.set(func(r *recorder) { r.fail = nil })
	if _, err := f.Renew(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if got := f.log.lastCheckpoint(); got == nil || got.Remaining_TTL != 0 {
		t.Fatalf("the log ends with %v", got)
	}
}

func TestLeaseThatWasNotProposedForRevocationIsRenewed(t *testing.T) {
	f := newFixture(t, Options{RetryInterval: 2 * time.Second}, Lease{ID: 1, TTL: 2})
	f.log.set(func(r *recorder) { r.deposed = errors.New("no quorum") })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := f.Renew(ctx, 1); err != nil {
		t.Fatal(err)
	}
	f.log.set(func(r *recorder) { r.deposed = nil })
	f.pass(1500 * time.Millisecond)
	if got := f.log.revocations(); len(got) != 0 {
		t.Fatalf("revoked %v", got)
	}
}

func TestRefusedRevocationLetsTheLeaseBeRenewed(t *testing.T) {
	f := newFixture(t, Options{RetryInterval: time.Hour}, Lease{ID: 1, TTL: 2})
	f.log.set(func(r *recorder) { r.fail = fmt.Errorf("corrupt cluster: %w", ErrRefused) })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := f.Renew(ctx, 1); err != nil {
		t.Fatal(err)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	f := newFixture(t, Options{}, Lease{ID: 1, TTL: 2}, Lease{ID: 2, TTL: 100})
	f.log.set(func(r *recorder) { r.hold = make(chan struct{}) })
	f.Promote(f.log, 0)
	f.pass(3 * time.Second)
	f.awaitPending()
	result := f.renew(1)
	f.Reset()
	if err := <-result; !errors.Is(err, ErrNotPrimary) {
		t.Fatalf("renewal over a reset: %v", err)
	}
	if got := f.IDs(); len(got) != 0 || f.Primary() {
		t.Fatalf("leases %v, primary %v", got, f.Primary())
	}
	f.Restore(Lease{ID: 2, TTL: 100, Remaining: 30})
	f.Promote(f.log, time.Second)
	if got := f.lookup(2).Left; got != 31*time.Second {
		t.Fatalf("left %v", got)
	}
}
