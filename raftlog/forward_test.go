// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// A change of membership that is forwarded while another one is pending waits for that, and fills no log with entries in
// its place.
func TestForwardedChangeWaits(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	l, follower := c.logs[leader], c.logs[leader%3+1]
	mustPropose(t, l, 1, "before")
	last := func() uint64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.lastIndex
	}
	// Nothing is committed, but the leader hears of the others.
	c.net.setDrop(func(m *raftpb.Message) bool { return m.GetTo() == leader && m.GetType() == raftpb.MsgAppResp })
	before := last()
	var wg sync.WaitGroup
	change := func(l *Log, id uint64) {
		wg.Go(func() {
			cc := &raftpb.ConfChange{Id: new(100 + id), Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: &id}
			if err := l.ProposeConfChange(testContext(t), cc); err != nil {
				t.Errorf("add %d: %v", id, err)
			}
		})
	}
	change(l, 4)
	eventually(t, "the first is in the log", func() bool { return last() == before+1 })
	change(follower, 5)
	eventually(t, "the second waits", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.deferred) == 1
	})
	<-time.After(20 * l.opts.TickInterval)
	if n := last() - before; n != 1 {
		t.Errorf("%d entries came into the log, want 1", n)
	}
	c.net.setDrop(nil)
	wg.Wait()
}

// What waits at a leader for being given to raft is bounded, however small it is.
func TestDeferredIsBounded(t *testing.T) {
	l := &Log{opts: Options{MaxPendingProposals: 10, MaxPendingBytes: 1000}}
	for _, c := range []struct{ bytes, want int }{{1, 5}, {300, 1}} {
		l.deferred, l.deferredCount, l.deferredBytes = nil, 0, 0
		data := make([]byte, c.bytes)
		for range 20 {
			l.deferLocked(&raftpb.Message{Entries: []*raftpb.Entry{{Data: data}, {Data: data}}})
		}
		if n := len(l.deferred); n != c.want {
			t.Errorf("%d messages of %d bytes wait, want %d", n, 2*c.bytes, c.want)
		}
	}
}
