// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog/disk"
)

// network connects logs in one process. Messages take a goroutine's turn; those to and from members that are
// cut off are dropped.
type network struct {
	mu        sync.Mutex
	endpoints map[uint64]*endpoint
	cut       map[uint64]bool
	drop      func(*raftpb.Message) bool // if set, says what else is dropped
	double    bool                       // every message is delivered twice
	snapshots sync.WaitGroup
}

// endpoint is where a member's messages arrive.
type endpoint struct {
	inbox   chan *raftpb.Message
	log     *Log // nil before it is open
	machine *machine
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
		to := k.net.reachLocked(k.self, m)
		if to == nil {
			continue
		}
		copies := 1
		if k.net.double {
			copies = 2
		}
		for range copies {
			select {
			case to.inbox <- proto.Clone(m).(*raftpb.Message):
			default:
			}
		}
	}
}

func (n *network) reachLocked(from uint64, m *raftpb.Message) *endpoint {
	if n.cut[from] || n.cut[m.GetTo()] || n.drop != nil && n.drop(m) {
		return nil
	}
	return n.endpoints[m.GetTo()]
}

func (k link) SendSnapshot(m *raftpb.Message, s *StateSnapshot) {
	m = proto.Clone(m).(*raftpb.Message)
	k.net.snapshots.Go(func() {
		status := raft.SnapshotFailure
		body, err := io.ReadAll(s.Body)
		if err == nil && s.Body.Close() == nil && k.net.deliverSnapshot(k.self, m, body) {
			status = raft.SnapshotFinish
		}
		k.net.mu.Lock()
		from := k.net.endpoints[k.self]
		k.net.mu.Unlock()
		if from.log != nil {
			from.log.ReportSnapshot(m.GetTo(), status)
		}
	})
}

func (n *network) deliverSnapshot(from uint64, m *raftpb.Message, body []byte) bool {
	n.mu.Lock()
	to := n.reachLocked(from, m)
	n.mu.Unlock()
	if to == nil || to.log == nil {
		return false
	}
	to.machine.receive(m.GetSnapshot().GetMetadata().GetIndex(), body)
	return to.log.Step(context.Background(), m) == nil
}

func (n *network) set(member uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[member] = cut
}

func (n *network) setDrop(drop func(*raftpb.Message) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = drop
}

// cluster is some members that founded a cluster together, and those that joined.
type cluster struct {
	t        *testing.T
	tune     func(id uint64, o *Options)
	founders []uint64
	net      *network
	dirs     map[uint64]string
	logs     map[uint64]*Log
	storages map[uint64]*testStorage
	machines map[uint64]*machine
	reading  map[uint64]chan struct{} // closed to end a member's reader
	readers  sync.WaitGroup
	nextID   atomic.Uint64 // of conf changes
}

var members = []uint64{1, 2, 3}

func newCluster(t *testing.T) *cluster { return newClusterOf(t, members, nil) }

// newClusterOf founds a cluster whose members' options tune may change.
func newClusterOf(t *testing.T, founders []uint64, tune func(id uint64, o *Options)) *cluster {
	c := &cluster{
		t:        t,
		tune:     tune,
		founders: founders,
		net:      &network{endpoints: make(map[uint64]*endpoint), cut: make(map[uint64]bool)},
		dirs:     make(map[uint64]string),
		logs:     make(map[uint64]*Log),
		storages: make(map[uint64]*testStorage),
		machines: make(map[uint64]*machine),
		reading:  make(map[uint64]chan struct{}),
	}
	c.nextID.Store(1 << 40)
	smallSegments(t, 64<<10)
	for _, id := range founders {
		c.dirs[id], c.machines[id] = t.TempDir(), newMachine()
		c.start(id)
	}
	return c
}

// start opens a member's log; one without data that is not a founder joins.
func (c *cluster) start(id uint64) {
	c.t.Helper()
	e := &endpoint{inbox: make(chan *raftpb.Message, 4096), machine: c.machines[id]}
	stop := make(chan struct{})
	c.net.mu.Lock()
	c.net.endpoints[id] = e
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
	if !slices.Contains(c.founders, id) {
		opts.Start = StartJoin
	}
	for _, p := range c.founders {
		opts.Peers = append(opts.Peers, raft.Peer{ID: p, Context: fmt.Appendf(nil, "member %d", p)})
	}
	if c.tune != nil {
		c.tune(id, &opts)
	}
	l := mustOpen(c.t, opts, c.machines[id])
	c.logs[id] = l
	c.net.mu.Lock()
	e.log = l
	c.net.mu.Unlock()
	c.readers.Go(func() {
		for {
			select {
			case m := <-e.inbox:
				err := l.Step(context.Background(), m)
				lost := (*LogLostError)(nil)
				if err != nil && !errors.Is(err, ErrStopped) && !errors.Is(err, raft.ErrStepPeerNotFound) && !errors.As(err, &lost) {
					c.t.Errorf("member %d: step %v: %v", id, m.GetType(), err)
				}
			case <-stop:
				return
			}
		}
	})
}

// restart starts a member again, with what its machine had made durable.
func (c *cluster) restart(id uint64) {
	c.t.Helper()
	c.machines[id] = c.machines[id].reopened()
	index, ok, err := disk.NewestSnapshot(filepath.Join(c.dirs[id], "member", "wal"))
	if err != nil {
		c.t.Fatal(err)
	}
	if ok {
		c.machines[id].finishRestore(c.t, index)
	}
	c.start(id)
}

func (c *cluster) stop(id uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	// A leader without followers cannot finish everything.
	if err := c.logs[id].Stop(ctx); err != nil && (!errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "hangs")) {
		c.t.Errorf("stop member %d: %v", id, err)
	}
	close(c.reading[id])
	delete(c.logs, id)
}

// crash ends a member with nothing finished but what is being done at the moment.
func (c *cluster) crash(id uint64) {
	c.t.Helper()
	l := c.logs[id]
	l.die(nil)
	for _, closed := range []<-chan struct{}{l.writer.close(), l.applier.close(), l.snapshotter.close()} {
		<-closed
	}
	close(l.quit)
	l.goroutines.Wait()
	if err := l.storage.Close(); err != nil {
		c.t.Error(err)
	}
	l.stop.Do(func() {})
	close(c.reading[id])
	delete(c.logs, id)
}

func (c *cluster) stopAll() {
	for id := range c.reading {
		if c.logs[id] != nil {
			c.stop(id)
		}
	}
	c.readers.Wait()
	c.net.snapshots.Wait()
}

// running returns the ids of the members whose logs are open, in order.
func (c *cluster) running() []uint64 { return slices.Sorted(maps.Keys(c.logs)) }

// change brings a change of membership about, at the leader.
func (c *cluster) change(typ raftpb.ConfChangeType, id uint64) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%v of %d", typ, id), func() bool {
		cc := &raftpb.ConfChange{Id: new(c.nextID.Add(1)), Type: typ.Enum(), NodeId: new(id), Context: fmt.Appendf(nil, "member %d", id)}
		err := c.logs[c.leader()].ProposeConfChange(testContext(c.t), cc)
		if err != nil && !errors.Is(err, ErrConfChangePending) {
			c.t.Fatal(err)
		}
		return err == nil
	})
}

// join starts a member that the cluster has been told of.
func (c *cluster) join(id uint64) {
	c.t.Helper()
	c.dirs[id], c.machines[id] = c.t.TempDir(), newMachine()
	c.start(id)
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

// equal waits until all members that run have applied the same, in the same order, and checks that it holds want.
func (c *cluster) equal(want map[uint64]string) {
	c.t.Helper()
	running := c.running()
	eventually(c.t, "all members have applied the same", func() bool {
		a := c.machines[running[0]]
		a.mu.Lock()
		index, order := a.index, slices.Clone(a.order)
		a.mu.Unlock()
		for _, id := range running {
			b := c.machines[id]
			b.mu.Lock()
			same := b.index == index && slices.Equal(b.order, order)
			b.mu.Unlock()
			if !same {
				return false
			}
		}
		return true
	})
	for _, id := range running {
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
	c.restart(leader)
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

// A leader that always has something to save, but each time not for long, leads on.
func TestBusyLeaderLeadsOn(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	leader := c.leader()
	s := c.storages[leader]
	s.set(func() { s.fault = func() error { <-time.After(3 * time.Millisecond); return nil } })
	term, opts := c.logs[leader].Term(), c.logs[leader].opts
	d := c.load(leader, leader, leader, leader)
	<-time.After(5 * time.Duration(opts.ElectionTicks) * opts.TickInterval)
	c.equal(d.end())
	if got := c.logs[c.leader()].Status(); got.Leader != leader || got.Term != term {
		t.Errorf("member %d leads in term %d, want %d in term %d", got.Leader, got.Term, leader, term)
	}
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
