// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// load proposes at members, each several at once, until it is told to stop, and notes what got a result. Proposals
// that get an error but by their member's stopping fail the test.
type load struct {
	c       *cluster
	stop    chan struct{}
	running sync.WaitGroup
	next    atomic.Uint64
	slowest atomic.Int64
	mu      sync.Mutex
	want    map[uint64]string
}

func (c *cluster) load(at ...uint64) *load {
	d := &load{c: c, stop: make(chan struct{}), want: make(map[uint64]string)}
	d.next.Store(rand.Uint64() >> 1) // no load repeats the ids of another
	for _, id := range at {
		l := c.logs[id]
		for range 4 {
			d.running.Go(func() { d.client(l) })
		}
	}
	return d
}

func (d *load) client(l *Log) {
	for {
		select {
		case <-d.stop:
			return
		default:
		}
		id := d.next.Add(1)
		value := fmt.Sprint("value ", id)
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		got, err := l.Propose(ctx, id, payload(id, value))
		cancel()
		if errors.Is(err, ErrStopped) {
			return
		}
		if err != nil || got != value+"!" {
			d.c.t.Errorf("proposal %d: %v, %v", id, got, err)
			return
		}
		d.slowest.Store(max(d.slowest.Load(), int64(time.Since(start))))
		d.mu.Lock()
		d.want[id] = value
		d.mu.Unlock()
	}
}

// acked returns how many got a result.
func (d *load) acked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.want)
}

func (d *load) goesOn() {
	d.c.t.Helper()
	n := d.acked()
	eventually(d.c.t, "writes go on", func() bool { return d.acked() > n+20 })
}

func (d *load) end() map[uint64]string {
	close(d.stop)
	d.running.Wait()
	return d.want
}

// Followers' proposals get their results once, through the loss of leaders, whichever way they are lost: the machines
// panic if one is applied twice. They take as long as an election, not as a request's time-out.
func TestProposalsSurviveLeaders(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	d := c.load(members...)
	for round := range 4 {
		d.goesOn()
		leader := c.leader()
		switch round % 2 {
		case 0:
			c.net.set(leader, true)
			eventually(t, "the others have a leader", func() bool { return c.logs[leader%3+1].Leader() != leader })
			c.leader()
			c.net.set(leader, false)
		case 1:
			if err := c.logs[leader].TransferLeadership(testContext(t), 0); err != nil {
				t.Error(err)
			}
		}
		c.leader()
	}
	d.goesOn()
	want := d.end()
	c.equal(want)
	if slow := time.Duration(d.slowest.Load()); slow > 20*time.Second {
		t.Errorf("a proposal took %v", slow)
	}
}

// The same when the leader's process dies, and comes back.
func TestProposalsSurviveCrashes(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	for range 3 {
		leader := c.leader()
		d := c.load(leader%3+1, (leader+1)%3+1)
		d.goesOn()
		c.crash(leader)
		d.goesOn()
		c.restart(leader)
		d.goesOn()
		c.equal(d.end())
	}
}

// Messages that come twice do not make proposals apply twice.
func TestProposalsDeliveredTwice(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	c.leader()
	c.net.mu.Lock()
	c.net.double = true
	c.net.mu.Unlock()
	d := c.load(members...)
	d.goesOn()
	if err := c.logs[c.leader()].TransferLeadership(testContext(t), 0); err != nil {
		t.Error(err)
	}
	d.goesOn()
	c.equal(d.end())
}

// A transfer that comes to nothing refuses no proposals, local or forwarded: they wait.
func TestProposalsWaitForTransfer(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	mustPropose(t, c.logs[leader], 1, "before")
	deaf, other := leader%3+1, (leader+1)%3+1
	c.net.setDrop(func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgTimeoutNow })
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.logs[leader].TransferLeadership(ctx, deaf); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	eventually(t, "leadership is being handed over", func() bool {
		c.logs[leader].mu.Lock()
		defer c.logs[leader].mu.Unlock()
		return c.logs[leader].rn.BasicStatus().LeadTransferee == deaf
	})
	for i, at := range []uint64{leader, other} {
		wg.Go(func() { mustPropose(t, c.logs[at], uint64(10+i), "waits") })
	}
	eventually(t, "both wait", func() bool {
		c.logs[leader].mu.Lock()
		defer c.logs[leader].mu.Unlock()
		return c.logs[leader].refused && len(c.logs[leader].deferred) > 0
	})
	cancel()
	c.net.setDrop(nil)
	wg.Wait()
	c.equal(map[uint64]string{1: "before", 10: "waits", 11: "waits"})
}

// A proposal for one term is applied in that term or never.
func TestProposeInTerm(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	ctx, term := testContext(t), c.logs[leader].Term()
	if _, err := c.logs[leader].ProposeInTerm(ctx, term, 1, payload(1, "in time")); err != nil {
		t.Error(err)
	}
	if _, err := c.logs[leader].ProposeInTerm(ctx, term-1, 2, payload(2, "too late")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("in an earlier term: %v, want %v", err, ErrNotLeader)
	}
	if _, err := c.logs[leader%3+1].ProposeInTerm(ctx, term, 3, payload(3, "not mine")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("at a follower: %v, want %v", err, ErrNotLeader)
	}
	c.net.set(leader, true)
	done := make(chan error, 1)
	go func() {
		_, err := c.logs[leader].ProposeInTerm(ctx, term, 4, payload(4, "taken along"))
		done <- err
	}()
	eventually(t, "it is in the log", func() bool { return c.logs[leader].props.pending() == 1 && c.logs[leader].props.queued() == 0 })
	mustPropose(t, c.logs[c.leader()], 5, "of a later term")
	c.net.set(leader, false)
	if err := <-done; !errors.Is(err, ErrNotLeader) {
		t.Errorf("taken along: %v, want %v", err, ErrNotLeader)
	}
	c.equal(map[uint64]string{1: "in time", 5: "of a later term"})
	if v := c.machines[leader].value(4); v != "" {
		t.Errorf("%q was applied", v)
	}
}

// The window of forwarded numbers lets each through once.
func TestForwards(t *testing.T) {
	var f forwards
	base := uint64(1) << 40
	for _, step := range []struct {
		term, number uint64
		first        bool
	}{
		{1, base, true}, {1, base, false}, {1, base + 2, true}, {1, base + 1, true}, {1, base + 1, false},
		{1, base + 2 + forwardsWindow, true}, {1, base + 2, false}, {1, base + 3, true}, {1, base + 3, false},
		{1, base + 10*forwardsWindow, true}, {1, base + 3 + forwardsWindow, false}, {1, base + 9*forwardsWindow + 1, true},
		{2, base, true}, {2, base, false},
	} {
		if got := f.first(step.term, origin{1, 1}, step.number); got != step.first {
			t.Errorf("%d of term %d: first is %v", step.number-base, step.term, got)
		}
	}
	for run := range uint64(maxForwards + 10) {
		if !f.first(2, origin{2, run}, 1) || f.first(2, origin{2, run}, 1) {
			t.Fatalf("run %d: not once", run)
		}
	}
	if n := len(f.byOrigin); n != maxForwards || n != len(f.origins) {
		t.Errorf("%d runs are told apart, want %d", n, maxForwards)
	}
}
