// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// A leader that removes itself steps down once everybody else knows; it neither stands for election nor leads again,
// and writes go on without it.
func TestLeaderRemoved(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	old := c.leader()
	c.change(raftpb.ConfChangeRemoveNode, old)
	eventually(t, "it steps down", func() bool { return !c.logs[old].Status().Lead })
	eventually(t, "another leads", func() bool {
		s := c.logs[old%3+1].Status()
		return s.Leader != 0 && s.Leader != old
	})
	term := c.logs[old].Status().Term
	second := c.logs[old%3+1].Leader()
	l := c.logs[second]
	for id := uint64(200); id < 220; id++ {
		mustPropose(t, l, id, "without it")
	}
	if s := c.logs[old].Status(); s.Lead || s.Term > l.Term() || s.Term > term+1 {
		t.Errorf("the removed member: %+v, was at term %d", s, term)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.logs[old].Propose(ctx, 300, payload(300, "by nobody")); err == nil {
		t.Error("a removed member's proposal was applied")
	}
	c.stop(old)
}

// Voters come and go while one of them lags, down to one and up to five.
func TestVotersChangeWhileOneLags(t *testing.T) {
	c := newClusterOf(t, []uint64{1, 2, 3, 4, 5}, forgetful)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	lagging := c.leader()%5 + 1
	c.net.set(lagging, true)
	for _, id := range []uint64{1, 2, 3, 4, 5} {
		if id == lagging || id == c.leader() || len(c.logs) == 3 {
			continue
		}
		c.change(raftpb.ConfChangeRemoveNode, id)
		c.net.set(id, true)
		c.stop(id)
		c.fill(want, 200*id, 20)
	}
	c.change(raftpb.ConfChangeAddLearnerNode, 6)
	c.join(6)
	c.change(raftpb.ConfChangeAddNode, 6)
	c.fill(want, 5000, 20)
	c.net.set(lagging, false)
	c.equal(want)
	if n := len(c.logs[c.leader()].Progress()); n != 4 {
		t.Errorf("%d members, want 4", n)
	}
}

// A member that was cut off for many elections disturbs nobody when it comes back.
func TestIsolatedMemberComesBack(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	leader := c.leader()
	term := c.logs[leader].Term()
	isolated := leader%3 + 1
	c.net.set(isolated, true)
	eventually(t, "it has no leader", func() bool { return c.logs[isolated].Leader() == 0 })
	c.fill(want, 200, 100)
	c.net.set(isolated, false)
	c.equal(want)
	if got := c.logs[leader].Status(); got.Term != term || !got.Lead {
		t.Errorf("the leader is disturbed: %+v, was at term %d", got, term)
	}
}

// Reads on followers of a leader that is cut off wait until there is another; none is stale.
func TestReadsWhileLeaderIsCutOff(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	old := c.leader()
	follower := old%3 + 1
	c.net.set(old, true)
	stale, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.logs[old].ReadIndex(stale); !errors.Is(err, context.Canceled) {
			t.Errorf("the leader that is cut off allowed a read: %v", err)
		}
	})
	for id := uint64(200); id < 220; id++ {
		second := c.leader()
		mustPropose(t, c.logs[second], id, "newer")
		if err := c.logs[follower].ReadIndex(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if c.machines[follower].value(id) != "newer" {
			t.Fatalf("a read does not see proposal %d", id)
		}
	}
	cancel()
	wg.Wait()
	c.net.set(old, false)
	if err := c.logs[old].ReadIndex(testContext(t)); err != nil {
		t.Error(err)
	}
	if c.machines[old].value(219) != "newer" {
		t.Error("a read on the old leader is stale")
	}
}

// A disk that returns errors for many elections, under load: on a follower nobody notices, on the leader another takes
// over; nothing that was acknowledged is lost, and the member catches up.
func TestDiskFailsForAWhile(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprint("leader=", leads), func(t *testing.T) {
			c := newCluster(t)
			defer c.stopAll()
			bad := c.leader()
			if !leads {
				bad = bad%3 + 1
			}
			d := c.load(bad%3+1, (bad+1)%3+1)
			d.goesOn()
			s := c.storages[bad]
			s.set(func() { s.fault = func() error { return fmt.Errorf("test: %w", disk.ErrNotSaved) } })
			eventually(t, "its disk fails", func() bool { return c.logs[bad].Status().NoSpace })
			d.goesOn()
			eventually(t, "another leads", func() bool { return c.logs[bad%3+1].Leader() != bad })
			d.goesOn()
			s.set(func() { s.fault = nil })
			c.equal(d.end())
		})
	}
}

// A leader whose disk hangs under load hands over: the others go on, nothing acknowledged is lost.
func TestDiskHangsUnderLoad(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	bad := c.leader()
	d := c.load(bad%3+1, (bad+1)%3+1)
	d.goesOn()
	s, gate := c.storages[bad], make(chan struct{})
	s.set(func() { s.gate = gate })
	start := time.Now()
	eventually(t, "another leads", func() bool { return c.logs[bad%3+1].Leader() != bad })
	t.Logf("handed over after %v; an election takes %v", time.Since(start), 10*c.logs[bad].opts.TickInterval)
	d.goesOn()
	close(gate)
	c.equal(d.end())
}

// Leadership is handed to whom it is asked to be, or to the best; with nobody fit it is kept, soon.
func TestTransferLeadership(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	behind, best := leader%3+1, (leader+1)%3+1
	c.net.set(behind, true)
	c.fill(want, 200, 10)
	if err := c.logs[leader].TransferLeadership(testContext(t), 0); err != nil {
		t.Error(err)
	}
	if got := c.leader(); got != best {
		t.Errorf("member %d leads, want %d", got, best)
	}
	for _, to := range []uint64{77, best} {
		if err := c.logs[best].TransferLeadership(testContext(t), to); !errors.Is(err, ErrNoLeader) {
			t.Errorf("transfer to %d: %v, want %v", to, err, ErrNoLeader)
		}
	}
	c.net.set(leader, true)
	if err := c.logs[best].TransferLeadership(testContext(t), 0); !errors.Is(err, ErrNoLeader) {
		t.Errorf("transfer to nobody: %v, want %v", err, ErrNoLeader)
	}
	c.net.set(leader, false)
	c.net.set(behind, false)
	c.equal(want)
}

// A member whose majority is lost goes on alone with what it has, and others can join it.
func TestForceNewCluster(t *testing.T) {
	forced := false
	c := newClusterOf(t, members, func(id uint64, o *Options) {
		forgetful(id, o)
		o.ForceNewCluster = forced
	})
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 25)
	c.equal(want)
	for _, id := range members {
		c.crash(id)
	}
	forced = true
	c.restart(2)
	eventually(t, "it is alone", func() bool {
		c.logs[2].mu.Lock()
		defer c.logs[2].mu.Unlock()
		return c.logs[2].alone && c.logs[2].Status().Lead
	})
	c.fill(want, 200, 25)
	c.equal(want)
	forced = false
	c.stop(2)
	c.restart(2)
	c.fill(want, 300, 5)
	c.equal(want)
	c.change(raftpb.ConfChangeAddLearnerNode, 4)
	c.join(4)
	c.change(raftpb.ConfChangeAddNode, 4)
	c.fill(want, 400, 5)
	c.equal(want)
}
