// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog"
)

// Times of every node.
const (
	tickInterval  = 100 * time.Millisecond
	electionTicks = 10
	clusterID     = 0xc1
)

// node is a member: what it keeps over crashes, and the log that runs while it is up.
type node struct {
	world   *World
	id      uint64
	clock   *clock
	storage *storage
	disk    machineDisk
	joins   bool          // it is added to a cluster that exists
	gone    bool          // it has left, or its data is gone: it does not start again
	slow    time.Duration // added to every sync
	stalled bool          // syncs do not return

	up          bool
	incarnation uint64
	log         *raftlog.Manual
	sm          machine
	conf        *raftpb.ConfState // in force at applied
	applied     uint64
	lastRead    int64 // revision of the newest read since the start
	inCall      bool  // crashes may come in the middle
	idle        bool  // the call that is being made has found nothing to do
	saving      bool
	due         [3]bool // of steps
	calls       []*call
}

// step is something that the log does when it is told to.
type step int

const (
	stepSave step = iota
	stepApply
	stepBackground
)

// call is a proposal or read that waits at a node.
type call struct {
	poll func() bool // true when it is answered
	lost func()      // the node is gone
}

func newNode(w *World, start raftlog.Start) *node {
	n := &node{world: w, id: uint64(len(w.nodes)) + 1, clock: newClock(w), joins: start == raftlog.StartJoin}
	dir := filepath.Join(w.dir, fmt.Sprint(n.id))
	n.storage = &storage{node: n, medium: simMedium{&simLog{limit: w.plan.segmentBytes}}}
	if w.plan.files {
		n.storage.medium = &fileMedium{dir: filepath.Join(dir, "log")}
	}
	n.disk = newMemoryDisk()
	if w.plan.sqlite {
		n.disk = &sqliteDisk{dir: filepath.Join(dir, "state")}
	}
	w.nodes = append(w.nodes, n)
	return n
}

// midCrash is what a crash in the middle of a call is thrown as.
type midCrash struct {
	kind crashKind
	at   string
}

// maybeCrash ends the node here and now, sometimes.
func (n *node) maybeCrash(at string) {
	w := n.world
	if !n.inCall || w.healed || !w.plan.has(faultMidStep) || !w.rng.chance(0.01) {
		return
	}
	panic(midCrash{crashKind(w.rng.IntN(2)), at}) // caught by run, which ends the node
}

// run makes a call into the node's log and sees to what follows from it.
func (n *node) run(what string, call func()) {
	if !n.up {
		return
	}
	defer func() {
		n.inCall = false
		switch r := recover().(type) {
		case nil:
		case midCrash:
			n.crash(r.kind, what+"/"+r.at)
			n.restartIn(n.world.rng.between(0, 2*time.Second))
		default:
			n.world.failf("n%d: panic in %s: %v\n%s", n.id, what, r, debug.Stack())
		}
	}()
	n.inCall, n.idle = true, false
	call()
	n.inCall = false
	n.settle()
}

// after makes a call after d, unless the node has crashed by then.
func (n *node) after(d time.Duration, what string, call func()) {
	incarnation := n.incarnation
	n.world.after(d, func() {
		if n.up && n.incarnation == incarnation {
			n.run(what, call)
		}
	})
}

// start opens what is on disk.
func (n *node) start() {
	w := n.world
	if n.up || n.gone {
		return
	}
	n.incarnation++
	if n.incarnation > 1 && w.rng.chance(0.2) {
		n.clock.set()
	}
	received, err := n.storage.medium.newest()
	if err == nil {
		n.sm, err = n.disk.open(n, received)
	}
	if err != nil {
		w.failf("invariant 3: n%d: open the state: %w", n.id, err)
		return
	}
	index, conf := n.sm.Applied()
	n.conf, n.lastRead = conf, 0
	w.history.started(n, index)
	n.storage.refused = false
	n.log, err = raftlog.OpenManual(n.options(), n.sm)
	if err != nil {
		w.failf("invariant 3: n%d does not start: %w", n.id, err)
		return
	}
	n.up, n.saving, n.idle, n.due = true, false, false, [3]bool{}
	status := n.log.Log().Status()
	w.note(n.id, "start", "", status.AppliedIndex, status.CommitIndex, status.Term)
	n.scheduleTick()
	n.settle()
}

func (n *node) options() raftlog.Options {
	w := n.world
	o := raftlog.Options{
		Storage: n.storage, MemberID: n.id, ClusterID: clusterID,
		Transport: transport{n, w.net}, Clock: n.clock,
		TickInterval: tickInterval, ElectionTicks: electionTicks,
		SnapshotCount: w.plan.snapshotCount, SnapshotCatchUpBytes: w.plan.catchUpBytes, SnapshotCatchUpEntries: 20,
		MaxBatchEntries: w.plan.maxBatch,
	}
	if n.joins {
		o.Start = raftlog.StartJoin
		return o
	}
	for id := uint64(1); id <= uint64(w.plan.nodes); id++ {
		o.Peers = append(o.Peers, raft.Peer{ID: id, Context: memberPayload(raftpb.ConfChangeAddNode, id, false)})
	}
	return o
}

func (n *node) scheduleTick() {
	n.after(n.clock.real(tickInterval), "tick", func() {
		n.scheduleTick()
		n.log.Tick()
	})
}

// step gives the log a message. It says whether the log took it.
func (n *node) step(m *raftpb.Message) bool {
	var err error
	n.run("step", func() { err = n.log.Log().Step(n.world.context, m) })
	if err == nil {
		return true
	}
	for _, expected := range []error{raft.ErrProposalDropped, raft.ErrStepPeerNotFound, raft.ErrStepLocalMsg, raftlog.ErrStopped, raftlog.ErrStateTransfer} {
		if errors.Is(err, expected) {
			n.world.note(n.id, "not stepped", err.Error(), m.GetFrom())
			return false
		}
	}
	n.world.failf("n%d: step %v from %d: %w", n.id, m.GetType(), m.GetFrom(), err)
	return false
}

// settle has the log go on with what a call has left, and answers whoever waits.
func (n *node) settle() {
	if !n.up {
		return
	}
	status := n.log.Log().Status()
	if status.Err != nil {
		n.world.failf("n%d: the log has died: %w", n.id, status.Err)
		return
	}
	if status.Lead {
		n.world.history.leads(n, status.Term)
	}
	n.answer()
	if n.idle {
		return
	}
	n.schedule(stepSave, 300*time.Microsecond)
	n.schedule(stepApply, 500*time.Microsecond)
	n.schedule(stepBackground, 5*time.Millisecond)
}

// schedule has a step made within the time, if it isn't due already.
func (n *node) schedule(s step, within time.Duration) {
	if n.due[s] {
		return
	}
	n.due[s] = true
	n.after(n.world.rng.between(0, within), stepNames[s], func() {
		n.due[s] = false
		switch s {
		case stepSave:
			n.idle = !n.save()
		case stepApply:
			n.idle = !n.log.Apply()
		case stepBackground:
			n.idle = !n.log.Background()
		}
	})
}

var stepNames = [...]string{stepSave: "save", stepApply: "apply", stepBackground: "background"}

// save writes what is to be saved and has it synced after a while.
func (n *node) save() bool {
	if n.saving {
		return false
	}
	if !n.log.BeginSave() {
		if n.storage.refused {
			n.after(50*time.Millisecond, "save again", func() {})
		}
		return false
	}
	n.saving = true
	n.finishIn(n.slow + n.world.rng.between(0, n.world.plan.syncTime))
	return true
}

func (n *node) finishIn(d time.Duration) {
	n.after(d, "sync", func() {
		if n.stalled {
			n.finishIn(100 * time.Millisecond)
			return
		}
		n.saving = false
		if !n.world.plan.bug.skipsSync(n) {
			if err := n.storage.sync(); err != nil {
				n.world.failf("n%d: sync: %w", n.id, err)
			}
		}
		n.log.FinishSave()
	})
}

// answer looks which calls have their answers.
func (n *node) answer() {
	waiting := n.calls
	n.calls = nil
	for _, c := range waiting {
		if !c.poll() {
			n.calls = append(n.calls, c)
		}
	}
}

// crash ends the node; what it leaves is decided by the kind and the seed.
func (n *node) crash(kind crashKind, why string) {
	if !n.up {
		return
	}
	w := n.world
	w.note(n.id, "crash", why, uint64(kind), n.applied)
	n.up, n.log = false, nil
	if err := errors.Join(n.storage.medium.crash(w.rng, kind), n.disk.crash(w.rng, kind)); err != nil {
		w.failf("n%d: %w", n.id, err)
	}
	n.sm = nil
	lost := n.calls
	n.calls = nil
	for _, c := range lost {
		c.lost()
	}
}

// restartIn has the node start again after d.
func (n *node) restartIn(d time.Duration) {
	n.world.after(d, n.start)
}

// member says whether the node runs and belongs to the cluster, as far as anybody knows.
func (n *node) member() bool { return n.up && n.world.history.oracle.Members[n.id] }

// leads says whether the node believes that it leads.
func (n *node) leads() bool { return n.up && n.log.Log().Status().Lead }

// memberPayload is what the entry that adds or promotes a member carries: etcd's JSON.
func memberPayload(kind raftpb.ConfChangeType, id uint64, promotes bool) []byte {
	role := ""
	switch {
	case promotes:
		role = `,"isPromote":true`
	case kind == raftpb.ConfChangeAddLearnerNode:
		role = `,"isLearner":true`
	}
	return fmt.Appendf(nil, `{"id":%d,"peerURLs":["http://10.0.0.%d:2380"],"name":"n%d"%s}`, id, id, id, role)
}
