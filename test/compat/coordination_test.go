// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// coordinated does what elections and locks are for, and returns what the server
// answered, without what two servers can't have in common.
type coordinated struct {
	t        *testing.T
	ctx      context.Context
	lock     v3lockpb.LockClient
	election v3electionpb.ElectionClient
	said     []string
}

// say notes an answer or its error, the header as its revision only.
func (c *coordinated) say(what string, header *pb.ResponseHeader, answer any, err error) {
	if err != nil {
		s := status.Convert(err)
		if s.Code() == codes.DeadlineExceeded { // in whose words is a matter of chance
			s = status.New(s.Code(), "")
		}
		c.said = append(c.said, fmt.Sprintf("%s: %v %q", what, s.Code(), s.Message()))
		return
	}
	c.said = append(c.said, fmt.Sprintf("%s: at %d %v", what, header.GetRevision(), answer))
}

func (c *coordinated) acquire(name string, lease int64) {
	r, err := c.lock.Lock(c.ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: lease})
	c.say("lock", r.GetHeader(), string(r.GetKey()), err)
}

func (c *coordinated) release(key string) {
	r, err := c.lock.Unlock(c.ctx, &v3lockpb.UnlockRequest{Key: []byte(key)})
	c.say("unlock", r.GetHeader(), "", err)
}

// waiting runs a request that has to wait until it gets what it wants. It returns
// when its key is there, which is before it waits; got waits for its end.
func (c *coordinated) waiting(kv pb.KVClient, key string, request func(*coordinated)) (got func()) {
	done, waiter := make(chan struct{}), *c
	waiter.said = nil
	go func() {
		defer close(done)
		request(&waiter)
	}()
	got = func() {
		<-done
		c.said = append(c.said, waiter.said...)
	}
	for {
		r, err := kv.Range(c.ctx, &pb.RangeRequest{Key: []byte(key)})
		if err != nil {
			c.t.Fatal(err)
		}
		if r.Count == 1 {
			return got
		}
		select {
		case <-done:
			c.t.Fatalf("%s: a request that should wait has ended: %s", key, strings.Join(waiter.said, "\n"))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestCoordination compares elections and locks under contention, when leases end
// that hold them, and after mistakes.
func TestCoordination(t *testing.T) {
	var said [2][]string
	for i, kind := range []harness.Kind{harness.Etcd, challenger()} {
		server := harness.Start(t, kind, harness.Options{})
		conn := server.Conn(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := &coordinated{t: t, ctx: ctx, lock: v3lockpb.NewLockClient(conn), election: v3electionpb.NewElectionClient(conn)}
		lease, kv := pb.NewLeaseClient(conn), pb.NewKVClient(conn)
		for id := int64(1); id <= 4; id++ {
			if _, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 600}); err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
		}
		revoke := func(id int64) {
			if _, err := lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}); err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
		}
		c.locks(kv, revoke)
		c.elections(kv, revoke)
		said[i] = c.said
	}
	if !slices.Equal(said[0], said[1]) {
		t.Errorf("etcd:\n%s\n%v:\n%s", strings.Join(said[0], "\n"), challenger(), strings.Join(said[1], "\n"))
	}
}

func (c *coordinated) locks(kv pb.KVClient, revoke func(int64)) {
	c.acquire("l", 1)
	c.acquire("l", 1) // whoever has it gets it again
	got := c.waiting(kv, "l/2", func(c *coordinated) { c.acquire("l", 2) })
	c.release("l/1")
	got()
	got = c.waiting(kv, "l/3", func(c *coordinated) { c.acquire("l", 3) })
	revoke(2) // ends the lock that the lease holds
	got()
	c.acquire("l", 99)
	c.acquire("l", 2)
	c.release("l/3")
	c.release("l/3")
	c.release("")
	whole, stop := c.ctx, func() {}
	c.acquire("m", 1)
	c.ctx, stop = context.WithTimeout(whole, 500*time.Millisecond)
	c.acquire("m", 3)
	stop()
	c.ctx = whole
	// Who gives up waiting leaves nothing behind, a moment later.
	for left := int64(0); left != 1; {
		r, err := kv.Range(c.ctx, &pb.RangeRequest{Key: []byte("m"), RangeEnd: []byte("n"), CountOnly: true})
		if err != nil {
			c.t.Fatal(err)
		}
		left = r.Count
	}
}

func (c *coordinated) campaign(value string, lease int64) *v3electionpb.LeaderKey {
	r, err := c.election.Campaign(c.ctx, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: lease, Value: []byte(value)})
	leader := r.GetLeader()
	c.say("campaign", r.GetHeader(), fmt.Sprintf("%q %d %x", leader.GetKey(), leader.GetRev(), leader.GetLease()), err)
	return leader
}

func (c *coordinated) elections(kv pb.KVClient, revoke func(int64)) {
	observed, err := c.election.Observe(c.ctx, &v3electionpb.LeaderRequest{Name: []byte("e")})
	if err != nil {
		c.t.Fatal(err)
	}
	observe := func() {
		r, err := observed.Recv()
		c.say("observed", r.GetHeader(), fmt.Sprintf("%q=%q", r.GetKv().GetKey(), r.GetKv().GetValue()), err)
	}
	proclaim := func(value string, key *v3electionpb.LeaderKey) {
		r, err := c.election.Proclaim(c.ctx, &v3electionpb.ProclaimRequest{Leader: key, Value: []byte(value)})
		c.say("proclaim", r.GetHeader(), "", err)
	}
	first := c.campaign("one", 1)
	observe()
	got := c.waiting(kv, "e/3", func(c *coordinated) { c.campaign("three", 3) })
	proclaim("uno", first)
	observe()
	r, err := c.election.Resign(c.ctx, &v3electionpb.ResignRequest{Leader: first})
	c.say("resign", r.GetHeader(), "", err)
	got()
	observe()
	proclaim("late", first)
	proclaim("", nil)
	revoke(3)
	l, err := c.election.Leader(c.ctx, &v3electionpb.LeaderRequest{Name: []byte("e")})
	c.say("leader", l.GetHeader(), l.GetKv().GetKey(), err)
	c.campaign("four", 4)
	observe()
	c.campaign("none", 3)
}
