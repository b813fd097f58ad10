// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/raft/v3"

	"keelson.io/keelson/raftlog"
)

// Result is what became of a world.
type Result struct {
	// Plan says in words what the seed had chosen.
	Plan string
	// Hash is over everything that happened: runs of the same options have the same.
	Hash uint64
	// Err is the first violation found, nil if there was none. Tail are the events before it.
	Err  error
	Tail string
	// Entries, Acknowledged and Events count what the world did; Virtual is how long it took on its own clock.
	Entries, Acknowledged, Events uint64
	Virtual                       time.Duration
	// Counts says how often each kind of event happened.
	Counts map[string]uint64
}

// Times of a world's end.
const (
	settleTime = 60 * time.Second // within which everybody agrees once all is healed
	lastTime   = 20 * time.Second // within which every member takes one more write
)

// Run lets one world live and checks it. It must not run beside another one in the same process.
func Run(o Options) Result {
	defer seedProcess(o.Seed)()
	defer smallSegments(4096 + int(o.Seed%8)*2048)()
	w := &World{plan: newPlan(o), dir: o.Dir, context: context.Background(), rng: newRandom(o.Seed, 0x776f726c64)}
	w.trace.print, w.trace.counts = o.Print, make(map[string]uint64)
	w.net, w.history = newNetwork(w), newHistory(w)
	w.note(0, "plan", w.plan.String())
	w.live()
	if err := w.close(); err != nil && w.failure == nil {
		w.failf("close: %w", err)
	}
	r := Result{
		Plan: w.plan.String(), Hash: w.trace.hash, Err: w.failure,
		Entries: w.history.last(), Acknowledged: w.acknowledged, Events: w.trace.count, Virtual: w.now,
		Counts: w.trace.counts,
	}
	if r.Err != nil {
		r.Tail = w.trace.tail()
	}
	return r
}

// live is a world's life: founding, trouble, healing, agreement, one last write everywhere.
func (w *World) live() {
	if w.plan.files || w.plan.sqlite {
		if err := emptyDir(w.dir); err != nil {
			w.failf("%w", err)
			return
		}
	}
	for range w.plan.nodes {
		newNode(w, raftlog.StartNew)
	}
	for _, n := range w.nodes {
		n.restartIn(w.rng.between(0, 300*time.Millisecond))
	}
	for i := range w.plan.clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	for i := range w.plan.watchers {
		w.watchers = append(w.watchers, newWatcher(w, uint64(i)))
	}
	w.nemesis, w.admin = newNemesis(w), newAdmin(w)
	w.runUntil(w.plan.length, func() bool { return false })
	w.heal()
	w.runUntil(w.now+2*time.Second, func() bool { return false })
	w.closing = true
	if !w.runUntil(w.now+settleTime, w.agreed) {
		w.failf("liveness: %v after everything was healed: %s", settleTime, w.disagreement())
		return
	}
	w.lastWrites()
	w.compareStates()
	if w.failure == nil {
		w.checkLinear()
	}
}

// heal ends all trouble and starts whoever is down.
func (w *World) heal() {
	w.healed = true
	w.note(0, "heal", "")
	w.net.heal()
	w.admin.stopRemoved()
	for _, n := range w.nodes {
		n.mendDisk()
		n.start()
	}
}

// agreed says whether there is one leader that all members follow, all have applied the same, and nobody waits.
func (w *World) agreed() bool { return w.disagreement() == "" }

// disagreement says what is missing, "" if nothing is.
func (w *World) disagreement() string {
	if w.admin.wiped != nil {
		return "a member without data is not removed"
	}
	w.admin.stopRemoved()
	voters, learners := w.members()
	leader := uint64(0)
	for _, n := range append(voters, learners...) {
		if !n.up {
			return fmt.Sprintf("n%d is down", n.id)
		}
		s := n.log.Log().Status()
		if leader == 0 {
			leader = s.Leader
		}
		switch {
		case s.Leader == raft.None || s.Leader != leader:
			return fmt.Sprintf("n%d follows %d, others %d", n.id, s.Leader, leader)
		case n.applied != w.history.last():
			return fmt.Sprintf("n%d has applied entry %d of %d", n.id, n.applied, w.history.last())
		case len(n.calls) > 0:
			return fmt.Sprintf("%d calls wait at n%d", len(n.calls), n.id)
		}
	}
	for _, v := range w.watchers {
		if !v.done() {
			return fmt.Sprintf("watcher %d waits for revision %d", v.number, v.peek().Rev)
		}
	}
	return ""
}

// lastWrites has every member take a write, and all members apply all of them.
func (w *World) lastWrites() {
	voters, learners := w.members()
	members := append(voters, learners...)
	before := w.acknowledged
	for _, n := range members {
		c := &client{world: w, number: len(w.clients), member: n, seen: make(map[string]string)}
		w.clients = append(w.clients, c)
		c.do(operation{kind: opPut, key: "k0", value: w.newValue()})
	}
	done := func() bool { return w.acknowledged == before+uint64(len(members)) && w.agreed() }
	if !w.runUntil(w.now+lastTime, done) {
		w.failf("liveness: %d of %d members took a write in the end (%s)", w.acknowledged-before, len(members), w.disagreement())
	}
}

// compareStates compares what the members hold in the end, each with the others and with the oracle.
func (w *World) compareStates() {
	voters, learners := w.members()
	var first uint64
	for i, n := range append(voters, learners...) {
		if w.failure != nil {
			return
		}
		hash, err := n.sm.hash()
		if err != nil {
			w.failf("n%d: hash: %w", n.id, err)
			return
		}
		if i == 0 {
			first = hash
		}
		if hash != first {
			w.failf("invariant 2: in the end n%d holds another state than n%d", n.id, voters[0].id)
		}
		for key := range w.history.byKey {
			w.history.local(n, key)
		}
	}
}

// close frees what the world holds.
func (w *World) close() error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, n.disk.close(), n.storage.medium.close())
	}
	if w.plan.files || w.plan.sqlite {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

func emptyDir(dir string) error {
	if dir == "" {
		return errors.New("a world with files needs a folder")
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o700)
}
