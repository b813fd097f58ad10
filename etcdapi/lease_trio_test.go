// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeasesThroughAnyMember(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	leader := c.leader()
	for _, m := range c.members {
		client := c.client(m)
		lease, err := client.Grant(ctx, 600)
		if err != nil {
			t.Fatalf("%v: grant: %v", m, err)
		}
		if _, err := client.Put(ctx, "key/"+m.name, "", clientv3.WithLease(lease.ID)); err != nil {
			t.Fatalf("%v: put: %v", m, err)
		}
		c.caughtUp()                                // the member that was asked may have applied the grant before the leader
		leader.time.Advance(300 * time.Millisecond) // all three together are less than what counts as a process held up
		left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
		if err != nil || left.GrantedTTL != 600 || left.TTL != 599 || len(left.Keys) != 1 ||
			string(left.Keys[0]) != "key/"+m.name || left.ResponseHeader.MemberId != m.memberID {
			t.Fatalf("%v: time to live: %d of %d, keys %q, %v %v", m, left.TTL, left.GrantedTTL, left.Keys, left.ResponseHeader, err)
		}
		alive, err := client.KeepAliveOnce(ctx, lease.ID)
		if err != nil || alive.TTL != 600 || alive.ResponseHeader.MemberId != m.memberID {
			t.Fatalf("%v: keep alive: %+v %v", m, alive, err)
		}
		if left, err := client.TimeToLive(ctx, lease.ID); err != nil || left.TTL != 600 {
			t.Fatalf("%v: time to live of a renewed lease: %+v %v", m, left, err)
		}
		if _, err := client.KeepAliveOnce(ctx, 12345); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Fatalf("%v: keep alive of no lease: %v", m, err)
		}
		if left, err := client.TimeToLive(ctx, 12345); err != nil || left.TTL != -1 {
			t.Fatalf("%v: time to live of no lease: %+v %v", m, left, err)
		}
		all, err := client.Leases(ctx)
		if err != nil {
			t.Fatalf("%v: leases: %v", m, err)
		}
		if len(all.Leases) == 0 {
			t.Fatalf("%v: no leases", m)
		}
	}
}

func TestLeaseWithoutLeader(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	follower := c.followers()[0]
	lease, err := c.client(follower).Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		if m != follower {
			m.paused.Store(true)
		}
	}
	eventually(t, "no leader", func() bool { return follower.log.Leader() == 0 })
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if _, err := follower.leases.renew(short, int64(lease.ID)); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		t.Fatalf("renewal: %v", err)
	}
	for _, m := range c.members {
		m.paused.Store(false)
	}
	if _, err := c.client(follower).KeepAliveOnce(ctx, lease.ID); err != nil {
		t.Fatalf("renewal when there is a leader again: %v", err)
	}
}

// TestQuestionsLeaveStoppedLeader has a follower ask a leader that takes the
// question and never answers, until there is another one.
func TestQuestionsLeaveStoppedLeader(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	old, follower := c.leader(), c.followers()[0]
	lease, err := c.client(old).Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan struct{}, 16)
	old.peer.Config.Handler.(*http.ServeMux).HandleFunc("POST "+leasesPath, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not see that the asker has gone
		taken <- struct{}{}
		<-r.Context().Done()
	})
	start := time.Now()
	result := make(chan error, 1)
	go func() {
		_, err := follower.leases.renew(ctx, int64(lease.ID))
		result <- err
	}()
	<-taken
	old.paused.Store(true)
	if err := <-result; err != nil {
		t.Fatalf("renewal over a change of leaders: %v", err)
	}
	if took := time.Since(start); took > follower.opts.requestTimeout() {
		t.Errorf("the stopped leader was waited for, %v", took)
	}
}

// TestStoppedLeaderEndsNoLease stops the leader, as SIGSTOP would, for longer than
// a lease lasts; the lease is kept alive at the next leader meanwhile.
func TestStoppedLeaderEndsNoLease(t *testing.T) {
	// Clocks that have nothing to do with each other.
	now := time.Now()
	c := startTrio(t, trioOptions{clocks: map[string]time.Time{
		"anna": now, "ben": now.Add(time.Hour), "cleo": now.Add(-time.Hour),
	}})
	ctx := testContext(t)
	old := c.leader()
	lease, err := c.client(old).Grant(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	old.paused.Store(true)
	next := c.leader()
	for range 6 {
		c.pass(9 * time.Second)
		if _, err := c.client(next).KeepAliveOnce(ctx, lease.ID); err != nil {
			t.Fatalf("renewal at the new leader: %v", err)
		}
	}

	// It wakes up, and does not know yet that it leads no more.
	if old.log.Leader() != old.memberID || !old.lessor.Primary() {
		t.Fatal("the old leader does not believe to lead")
	}
	short, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	if ttl, err := old.leases.renewHere(short, int64(lease.ID)); err == nil {
		t.Fatalf("a deposed leader renewed the lease: %d", ttl)
	}
	for range 30 { // slowly enough for its lessor to see the lease run out
		old.time.Advance(500 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
	old.paused.Store(false)
	eventually(t, "the old leader follows", func() bool { return old.log.Leader() == next.memberID && !old.lessor.Primary() })
	// Whatever it had under way is in the log by now, or never.
	if _, err := c.client(old).Put(ctx, "after", ""); err != nil {
		t.Fatal(err)
	}
	c.caughtUp()
	for _, m := range c.members {
		if _, ok := m.store.Lease(int64(lease.ID)); !ok {
			t.Fatalf("%v: the lease is gone", m)
		}
	}
	// It ends in its time.
	c.pass(12 * time.Second)
	eventually(t, "the lease is revoked", func() bool {
		c.pass(500 * time.Millisecond)
		_, ok := old.store.Lease(int64(lease.ID))
		return !ok
	})
}

func TestDecidedRevocationIsNotForwarded(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	old := c.leader()
	lease, err := c.client(old).Grant(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	proposer := leaseProposer{old.core, old.leases.lead, old.log.Term()}
	if err := proposer.ConfirmLeader(ctx); err != nil {
		t.Fatal(err)
	}
	// Between its question and its proposal another one takes over.
	if err := old.log.TransferLeadership(ctx, c.followers()[0].memberID); err != nil {
		t.Fatal(err)
	}
	c.leader()
	if err := proposer.RevokeLease(ctx, int64(lease.ID)); err == nil {
		t.Fatal("a revocation of an earlier term was applied")
	}
	if _, err := c.client(old).KeepAliveOnce(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
}

func TestRemainingTimeSurvivesLeaders(t *testing.T) {
	c := startTrio(t, trioOptions{checkpointInterval: 10 * time.Second})
	ctx := testContext(t)
	old := c.leader()
	client := c.client(old)
	lease, err := client.Grant(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := client.Grant(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	remaining := func(m *third, id clientv3.LeaseID) int64 {
		l, _ := m.store.Lease(int64(id))
		return l.Remaining
	}
	eventually(t, "checkpoints", func() bool {
		c.pass(500 * time.Millisecond)
		return remaining(old, lease.ID) > 0 && remaining(old, renewed.ID) > 0
	})
	if _, err := client.KeepAliveOnce(ctx, renewed.ID); err != nil {
		t.Fatal(err)
	}
	old.paused.Store(true)
	next := c.leader()
	left, err := c.client(next).TimeToLive(ctx, lease.ID)
	if err != nil || left.TTL > 90 || left.TTL < 80 {
		t.Fatalf("the next leader counts from %+v %v", left, err)
	}
	if left, err := c.client(next).TimeToLive(ctx, renewed.ID); err != nil || left.TTL != 100 {
		t.Fatalf("a renewed lease has %+v %v", left, err)
	}
}
