// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// network connects logs in one process. Messages take a goroutine's turn; those to and from members that are
// cut off are dropped.
type network struct {
	mu    sync.Mutex
	inbox map[uint64]chan *raftpb.Message
	cut   map[uint64]bool
}

// link is one member's Transport.
type link struct {
	net  *network
	self uint64
}

func (k link) Send(messages []*raftpb.Message) {
	k.net.mu.Lock()
	defer k.net.mu.Unlock()
	for _, m := range messages {
		if k.net.cut[k.self] || k.net.cut[m.GetTo()] || k.net.inbox[m.GetTo()] == nil {
			continue
		}
		select {
		case k.net.inbox[m.GetTo()] <- m:
		default:
		}
	}
}

func (k link) SendSnapshot(m *raftpb.Message, s *StateSnapshot) {}

func (n *network) set(member uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[member] = cut
}

// cluster is three members that founded a cluster together.
type cluster struct {
	t        *testing.T
	net      *network
	dirs     map[uint64]string
	logs     map[uint64]*Log
	storages map[uint64]*testStorage
	machines map[uint64]*machine
	reading  map[uint64]chan struct{} // closed to end a member's reader
	readers  sync.WaitGroup
}

var members = []uint64{1, 2, 3}

func newCluster(t *testing.T) *cluster {
	c := &cluster{
		t:        t,
		net:      &network{inbox: make(map[uint64]chan *raftpb.Message), cut: make(map[uint64]bool)},
		dirs:     make(map[uint64]string),
		logs:     make(map[uint64]*Log),
		storages: make(map[uint64]*testStorage),
		machines: make(map[uint64]*machine),
		reading:  make(map[uint64]chan struct{}),
	}
	for _, id := range members {
		c.dirs[id], c.machines[id] = t.TempDir(), newMachine()
		c.start(id)
	}
	return c
}

func (c *cluster) start(id uint64) {
	c.t.Helper()
	inbox, stop := make(chan *raftpb.Message, 4096), make(chan struct{})
	c.net.mu.Lock()
	c.net.inbox[id] = inbox
	c.net.mu.Unlock()
	c.reading[id] = stop
	c.storages[id] = newTestStorage(c.dirs[id])
	opts := Options{
		Storage:      c.storages[id],
		MemberID:     id,
		ClusterID:    testCluster,
		Transport:    link{c.net, id},
		TickInterval: 20 * time.Millisecond,
		MinFreeBytes: 1,
	}
	for _, p := range members {
		opts.Peers = append(opts.Peers, raft.Peer{ID: p, Context: fmt.Appendf(nil, "member %d", p)})
	}
	l := mustOpen(c.t, opts, c.machines[id])
	c.logs[id] = l
	c.readers.Go(func() {
		for {
			select {
			case m := <-inbox:
				if err := l.Step(context.Background(), m); err != nil && !errors.Is(err, ErrStopped) && !errors.Is(err, raft.ErrProposalDropped) {
					c.t.Errorf("member %d: step %v: %v", id, m.GetType(), err)
				}
			case <-stop:
				return
			}
		}
	})
}

func (c *cluster) stop(id uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	// A leader without followers cannot finish everything.
	if err := c.logs[id].Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		c.t.Errorf("stop member %d: %v", id, err)
	}
	close(c.reading[id])
	delete(c.logs, id)
}

func (c *cluster) stopAll() {
	for _, id := range members {
		if c.logs[id] != nil {
			c.stop(id)
		}
	}
	c.readers.Wait()
}

// leader waits until exactly one of the members that are not cut off leads and the others follow it.
func (c *cluster) leader() uint64 {
	c.t.Helper()
	var leader uint64
	eventually(c.t, "a leader", func() bool {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		var leaders []uint64
		for id, l := range c.logs {
			if !c.net.cut[id] {
				leaders = append(leaders, l.Status().Leader)
			}
		}
		slices.Sort(leaders)
		leaders = slices.Compact(leaders)
		if len(leaders) != 1 || c.logs[leaders[0]] == nil || c.net.cut[leaders[0]] {
			return false
		}
		leader = leaders[0]
		return c.logs[leader].Status().Lead
	})
	return leader
}

// equal waits until all members have applied the same, in the same order, and checks that it holds want.
func (c *cluster) equal(want map[uint64]string) {
	c.t.Helper()
	eventually(c.t, "all members have applied the same", func() bool {
		for _, id := range members {
			a, b := c.machines[members[0]], c.machines[id]
			a.mu.Lock()
			index, order := a.index, slices.Clone(a.order)
			a.mu.Unlock()
			b.mu.Lock()
			same := b.index == index && slices.Equal(b.order, order)
			b.mu.Unlock()
			if !same {
				return false
			}
		}
		return true
	})
	for _, id := range members {
		c.machines[id].mu.Lock()
		for p, v := range want {
			if c.machines[id].values[p] != v {
				c.t.Errorf("member %d: proposal %d is %q, want %q", id, p, c.machines[id].values[p], v)
			}
		}
		c.machines[id].mu.Unlock()
	}
}

// Three members elect a leader, replicate, forward proposals and reads to it, go on without it, and take it back.
func TestThreeMembers(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	want := make(map[uint64]string)
	propose := func(at, id uint64) {
		t.Helper()
		want[id] = fmt.Sprint("value ", id)
		mustPropose(t, c.logs[at], id, want[id])
	}
	for i, id := range members {
		propose(id, uint64(100+i)) // two of them are forwarded
	}
	for _, id := range members {
		if err := c.logs[id].ReadIndex(testContext(t)); err != nil {
			t.Errorf("read at member %d: %v", id, err)
		}
		c.machines[id].mu.Lock()
		if v := c.machines[id].values[102]; v != want[102] {
			t.Errorf("read at member %d: %q after %q was acknowledged", id, v, want[102])
		}
		c.machines[id].mu.Unlock()
	}
	for _, id := range members {
		if got := len(c.machines[id].changes); got != 3 {
			t.Errorf("member %d: %d founding changes, want 3", id, got)
		}
	}

	changed := c.logs[leader%3+1].LeaderChanged()
	c.stop(leader)
	<-changed
	second := c.leader()
	if second == leader {
		t.Fatalf("member %d leads though it is stopped", leader)
	}
	for i := range uint64(20) {
		propose(second, 200+i)
	}
	c.machines[leader] = c.machines[leader].reopened()
	c.start(leader)
	c.equal(want)

	third := second%3 + 1
	if err := c.logs[second].TransferLeadership(testContext(t), third); err != nil {
		t.Fatal(err)
	}
	if got := c.leader(); got != third {
		t.Errorf("member %d leads, want %d", got, third)
	}
	if err := c.logs[second].TransferLeadership(testContext(t), 0); !errors.Is(err, ErrNoLeader) {
		t.Errorf("transfer by a follower: %v, want %v", err, ErrNoLeader)
	}
	propose(second, 300)
	c.equal(want)
}

// A leader that is cut off acknowledges neither writes nor reads; what it took in is replaced.
func TestLeaderCutOff(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	old := c.leader()
	mustPropose(t, c.logs[old], 1, "before")
	c.net.set(old, true)
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.logs[old].Propose(ctx, 2, payload(2, "nobody knows")); err == nil {
			t.Error("a leader without followers acknowledged a write")
		}
	})
	wg.Go(func() {
		if err := c.logs[old].ReadIndex(ctx); err == nil {
			t.Error("a leader without followers allowed a read")
		}
	})
	leader := c.leader()
	mustPropose(t, c.logs[leader], 3, "after")
	cancel()
	wg.Wait()
	c.net.set(old, false)
	c.equal(map[uint64]string{1: "before", 3: "after"})
}

// A leader whose disk stalls hands over.
func TestStalledLeaderHandsOver(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	old := c.leader()
	mustPropose(t, c.logs[old], 1, "before")
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	s := c.storages[old]
	s.set(func() { s.gate = gate })
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		// Its outcome is open: the others have it.
		if _, err := c.logs[old].Propose(ctx, 2, payload(2, "slow")); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	eventually(t, "another member leads", func() bool { return c.logs[old%3+1].Status().Leader != old })
	leader := c.leader()
	if leader == old {
		t.Errorf("member %d still leads", old)
	}
	mustPropose(t, c.logs[leader], 3, "after")
	open()
	cancel()
	wg.Wait()
	c.equal(map[uint64]string{1: "before", 3: "after"})
}

// Reads that come together are confirmed together.
func TestReadsAreBatched(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	follower := leader%3 + 1
	mustPropose(t, c.logs[leader], 1, "before")
	start := c.logs[follower].reads.seq
	c.net.set(follower, true)
	const n = 100
	var finished atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := c.logs[follower].ReadIndex(testContext(t)); err != nil {
				t.Error(err)
			}
			finished.Add(1)
		})
	}
	if finished.Load() != 0 {
		t.Error("a follower that is cut off allowed a read")
	}
	c.net.set(follower, false)
	wg.Wait()
	c.logs[follower].mu.Lock()
	asked := c.logs[follower].reads.seq - start
	c.logs[follower].mu.Unlock()
	if asked > n/4 {
		t.Errorf("%d reads took %d questions", n, asked)
	}
}
