// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// forgetful has members forget entries soon, so that who lags needs a snapshot.
func forgetful(_ uint64, o *Options) {
	o.SnapshotCatchUpEntries, o.SnapshotCount = 5, 10
	o.SnapshotCatchUpBytes = 1
}

// fill proposes values with ids from first on at the leader and notes them in want.
func (c *cluster) fill(want map[uint64]string, first uint64, n int) {
	c.t.Helper()
	l := c.logs[c.leader()]
	for id := first; id < first+uint64(n); id++ {
		want[id] = fmt.Sprint("value ", id)
		mustPropose(c.t, l, id, want[id])
	}
}

// isolate cuts a follower off that has everything so far, and waits until the leader has noticed: a transfer that began
// before would change what is kept for it.
func (c *cluster) isolate(lagging uint64, want map[uint64]string) {
	c.t.Helper()
	c.equal(want)
	c.net.set(lagging, true)
	eventually(c.t, "the leader misses it", func() bool {
		l := c.logs[c.leader()]
		l.mu.Lock()
		sending := len(l.sending.byMember)
		l.mu.Unlock()
		return sending == 0 && slices.ContainsFunc(l.Progress(), func(p Progress) bool { return p.ID == lagging && !p.RecentActive })
	})
}

// A follower that missed more than is kept for it is sent the state, goes on from there by entries, and keeps what it
// was sent over a restart.
func TestFollowerIsSentTheState(t *testing.T) {
	var sent atomic.Int64
	c := newClusterOf(t, members, func(id uint64, o *Options) {
		forgetful(id, o)
		o.Events.SnapshotSent = func(i TransferInfo) {
			if i.Bytes == 0 || i.Index == 0 || i.Member == 0 {
				t.Errorf("sent %+v", i)
			}
			sent.Add(1)
		}
	})
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	leader := c.leader()
	lagging := leader%3 + 1
	c.isolate(lagging, want)
	c.fill(want, 200, 50)
	c.net.set(lagging, false)
	c.equal(want)
	if n := c.machines[lagging].restores; n == 0 {
		t.Fatal("it caught up without the state")
	}
	eventually(t, "the sender is told", func() bool { return sent.Load() > 0 })
	c.fill(want, 300, 10)
	c.equal(want)
	c.stop(lagging)
	c.restart(lagging)
	c.fill(want, 400, 10)
	c.equal(want)
	for _, p := range c.logs[c.leader()].Progress() {
		if p.Match == 0 || p.State != "StateReplicate" || p.Learner || !p.RecentActive {
			t.Errorf("progress of %+v", p)
		}
	}
	if p := c.logs[c.leader()%3+1].Progress(); p != nil {
		t.Errorf("a follower knows the progress of %+v", p)
	}
}

// A new member of an old cluster is sent the state, and so is one whose data is gone.
func TestJoinByState(t *testing.T) {
	c := newClusterOf(t, members, forgetful)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 50)
	c.change(raftpb.ConfChangeAddLearnerNode, 4)
	c.join(4)
	c.equal(want)
	if !c.logs[4].Status().Learner {
		t.Error("it does not know that it is a learner")
	}
	c.change(raftpb.ConfChangeAddNode, 4)
	eventually(t, "it has a vote", func() bool { return !c.logs[4].Status().Learner })
	c.fill(want, 200, 50)
	c.equal(want)
}

// Writes during a transfer do not make the receiver need another one.
func TestEntriesAreKeptForTheReceiver(t *testing.T) {
	c := newClusterOf(t, members, forgetful)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	lagging := c.leader()%3 + 1
	c.isolate(lagging, want)
	c.fill(want, 200, 50)
	gate := make(chan struct{})
	c.machines[lagging].set(func(m *machine) { m.restoreGate = gate })
	leader, term := c.leader(), c.logs[c.leader()].Term()
	before := c.machines[leader].opens() // for when it was cut off already
	c.net.set(lagging, false)
	eventually(t, "the snapshot is on its way", func() bool { return c.machines[leader].opens() > before || c.leader() != leader })
	c.fill(want, 300, 500)
	close(gate)
	c.equal(want)
	// Another leader would have kept nothing for it.
	if n := c.machines[lagging].restores; n != 1 && c.logs[c.leader()].Term() == term {
		t.Errorf("it took %d transfers, want 1", n)
	}
	l := c.logs[c.leader()]
	c.fill(want, 1000, 10)
	eventually(t, "the receiver's entries are let go", func() bool {
		c.fill(want, 2000+uint64(len(want)), 10)
		first, err := l.mem.FirstIndex()
		return err == nil && l.applied.Load()-first < 100
	})
}

// While the state machine is restored nothing is applied, but the member votes; then it goes on with what it was sent
// meanwhile.
func TestVotesWhileRestoring(t *testing.T) {
	c := newClusterOf(t, members, forgetful)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	leader := c.leader()
	lagging := leader%3 + 1
	c.isolate(lagging, want)
	c.fill(want, 200, 50)
	gate := make(chan struct{})
	c.machines[lagging].set(func(m *machine) { m.restoreGate = gate })
	before := c.logs[lagging].Status().AppliedIndex
	c.net.set(lagging, false)
	eventually(t, "it is being restored", func() bool {
		return c.logs[lagging].Status().CommitIndex > before+40
	})
	c.net.set(leader, true)
	eventually(t, "the others have a leader", func() bool {
		s := c.logs[leader%3+1].Status()
		o := c.logs[(leader+1)%3+1].Status()
		return s.Leader == o.Leader && s.Leader != 0 && s.Leader != leader
	})
	if got := c.logs[lagging].Status().AppliedIndex; got != before {
		t.Errorf("applied %d while being restored at %d", got, before)
	}
	close(gate)
	c.fill(want, 300, 20)
	c.net.set(leader, false)
	c.equal(want)
}

// A transfer that fails is tried again: the content cannot be opened, the connection breaks, the receiver has no room.
func TestTransferTriedAgain(t *testing.T) {
	var failed atomic.Int64
	c := newClusterOf(t, members, func(id uint64, o *Options) {
		forgetful(id, o)
		o.Events.SnapshotSendFailed = func(TransferInfo) { failed.Add(1) }
	})
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	leader := c.leader()
	lagging := leader%3 + 1
	c.isolate(lagging, want)
	c.fill(want, 200, 50)
	set := func(err error) {
		c.machines[leader].mu.Lock()
		defer c.machines[leader].mu.Unlock()
		c.machines[leader].openFault = err
	}
	set(errors.New("test: too many files"))
	c.net.setDrop(func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgSnap })
	c.net.set(lagging, false)
	eventually(t, "it fails to be opened", func() bool { return failed.Load() > 1 })
	set(nil)
	n := failed.Load()
	eventually(t, "it fails to arrive", func() bool { return failed.Load() > n+1 })
	s := c.storages[lagging]
	var faults atomic.Int64
	s.set(func() {
		s.fault = func() error {
			if faults.Add(1) < 5 {
				return fmt.Errorf("test: %w", disk.ErrNotSaved)
			}
			return nil
		}
	})
	c.net.setDrop(nil)
	c.equal(want)
}

// A machine that cannot be restored ends the log; the next start finishes it.
func TestCrashBeforeRestore(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		t.Run(fmt.Sprint("stopped=", graceful), func(t *testing.T) {
			c := newClusterOf(t, members, forgetful)
			defer c.stopAll()
			want := make(map[uint64]string)
			c.fill(want, 100, 10)
			lagging := c.leader()%3 + 1
			c.isolate(lagging, want)
			c.fill(want, 200, 50)
			c.machines[lagging].set(func(m *machine) { m.restoreFault = errors.New("test: the disk is full") })
			c.net.set(lagging, false)
			<-c.logs[lagging].Done()
			if err := c.logs[lagging].Status().Err; err == nil {
				t.Error("no error")
			}
			if graceful {
				c.stop(lagging)
			} else {
				c.crash(lagging)
			}
			c.fill(want, 300, 10)
			c.restart(lagging)
			if n := c.machines[lagging].restores; n != 1 {
				t.Errorf("finished %d restores, want 1", n)
			}
			c.equal(want)
		})
	}
}

// Proposals whose results a snapshot skips get an error, once; they were applied.
func TestResultsSkippedBySnapshot(t *testing.T) {
	c := newClusterOf(t, members, forgetful)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	leader := c.leader()
	lagging := leader%3 + 1
	c.equal(want)
	// The proposal gets out, nothing comes back.
	c.net.setDrop(func(m *raftpb.Message) bool { return m.GetTo() == lagging && m.GetType() != raftpb.MsgHeartbeat })
	outcome := make(chan error, 1)
	go func() {
		_, err := c.logs[lagging].Propose(testContext(t), 1, payload(1, "forwarded"))
		outcome <- err
	}()
	want[1] = "forwarded"
	eventually(t, "the leader has applied it", func() bool { return c.machines[leader].value(1) != "" })
	c.fill(want, 200, 50)
	c.net.setDrop(nil)
	err := <-outcome
	c.machines[lagging].mu.Lock()
	restored := c.machines[lagging].restores > 0
	c.machines[lagging].mu.Unlock()
	// A transfer that began early may have kept the entries.
	if restored && !errors.Is(err, ErrResultUnknown) || !restored && err != nil {
		t.Errorf("proposal: %v, restored: %v, want %v", err, restored, ErrResultUnknown)
	}
	c.equal(want)
}

// A log that is stopped or dies at any time of a transfer lets go of everything.
func TestStopWhileReceiving(t *testing.T) {
	for name, hold := range map[string]func(c *cluster, lagging uint64) (release func()){
		"saving": func(c *cluster, lagging uint64) func() {
			gate := make(chan struct{})
			c.storages[lagging].set(func() {
				c.storages[lagging].beforeReceived = func() error { <-gate; return nil }
			})
			return func() { close(gate) }
		},
		"restoring": func(c *cluster, lagging uint64) func() {
			gate := make(chan struct{})
			c.machines[lagging].set(func(m *machine) { m.restoreGate = gate })
			return func() { close(gate) }
		},
		"retrying": func(c *cluster, lagging uint64) func() {
			c.storages[lagging].set(func() {
				c.storages[lagging].beforeReceived = func() error { return disk.ErrNotSaved }
			})
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterOf(t, members, forgetful)
			defer c.stopAll()
			want := make(map[uint64]string)
			c.fill(want, 100, 10)
			lagging := c.leader()%3 + 1
			c.isolate(lagging, want)
			c.fill(want, 200, 50)
			release := hold(c, lagging)
			l := c.logs[lagging]
			before := l.Status().CommitIndex
			c.net.set(lagging, false)
			eventually(t, "it has the snapshot", func() bool { return l.Status().CommitIndex > before+20 })
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				c.stop(lagging)
			}()
			eventually(t, "it has died", func() bool {
				select {
				case <-l.Done():
					return true
				case <-time.After(time.Millisecond):
					return false
				}
			})
			release()
			<-stopped
			c.restart(lagging)
			c.equal(want)
		})
	}
}
