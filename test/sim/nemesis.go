// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// nemesis makes trouble of the kinds that the seed has chosen.
type nemesis struct {
	world *World
	kinds []fault
}

func newNemesis(w *World) *nemesis {
	n := &nemesis{world: w}
	for _, f := range []fault{faultPartition, faultOneWay, faultKill, faultPower, faultSlowDisk, faultStall, faultDiskErrors, faultTransfer} {
		if w.plan.has(f) {
			n.kinds = append(n.kinds, f)
		}
	}
	if len(n.kinds) > 0 {
		w.after(w.rng.between(0, time.Second), n.strike)
	}
	return n
}

// strike does one thing and comes back later.
func (n *nemesis) strike() {
	w := n.world
	if w.healed {
		return
	}
	w.after(w.rng.between(w.plan.calm/4, 2*w.plan.calm), n.strike)
	switch kind := pick(w.rng, n.kinds); kind {
	case faultPartition:
		n.part()
	case faultOneWay:
		n.deafen()
	case faultKill:
		n.crash(crashProcess)
	case faultPower:
		n.crash(crashPower)
	case faultTransfer:
		n.transfer()
	default:
		n.harmDisk(kind)
	}
}

// part parts the members into two groups for a while, or joins them again.
func (n *nemesis) part() {
	w := n.world
	if w.rng.chance(0.3) {
		w.net.heal()
		w.note(0, "join", "")
		return
	}
	group := make(map[uint64]bool)
	for _, m := range w.nodes {
		if w.rng.chance(0.4) {
			group[m.id] = true
		}
	}
	if leader := w.leader(); leader != nil && w.rng.chance(0.4) {
		group = map[uint64]bool{leader.id: true}
	}
	w.net.isolate(group)
	w.note(0, "part", "", uint64(len(group)))
	w.after(w.rng.between(200*time.Millisecond, 5*time.Second), w.net.heal)
}

// deafen cuts single directions for a while.
func (n *nemesis) deafen() {
	w := n.world
	for range 1 + w.rng.IntN(4) {
		from, to := pick(w.rng, w.nodes), pick(w.rng, w.nodes)
		w.net.cut[link{from.id, to.id}] = true
		w.note(0, "deafen", "", from.id, to.id)
	}
	w.after(w.rng.between(200*time.Millisecond, 5*time.Second), w.net.heal)
}

// crash ends one node, the leader more often than others, or all of them.
func (n *nemesis) crash(kind crashKind) {
	w := n.world
	victims := []*node{pick(w.rng, w.nodes)}
	if leader := w.leader(); leader != nil && w.rng.chance(0.4) {
		victims[0] = leader
	}
	if w.rng.chance(0.08) {
		victims = w.nodes
	}
	for _, v := range victims {
		v.crash(kind, "nemesis")
		v.restartIn(w.rng.between(0, 3*time.Second))
	}
}

// transfer asks for another leader.
func (n *nemesis) transfer() {
	w := n.world
	leader := w.leader()
	if leader == nil {
		return
	}
	to := uint64(0)
	if w.rng.chance(0.5) {
		to = pick(w.rng, w.nodes).id
	}
	leader.run("transfer", func() {
		// Nobody to hand over to is an answer, too.
		if err := leader.log.Transfer(to); err != nil {
			w.note(leader.id, "no-transfer", err.Error(), to)
			return
		}
		w.note(leader.id, "transfer", "", to)
	})
}

// harmDisk makes one disk slow, stalled or failing for a while.
func (n *nemesis) harmDisk(kind fault) {
	w := n.world
	v := pick(w.rng, w.nodes)
	w.note(v.id, "disk", kind.String())
	switch kind {
	case faultSlowDisk:
		v.slow = w.rng.between(10*time.Millisecond, 400*time.Millisecond)
	case faultStall:
		v.stalled = true
	case faultDiskErrors:
		v.storage.failing = true
	}
	w.after(w.rng.between(300*time.Millisecond, 8*time.Second), v.mendDisk)
}

func (n *node) mendDisk() { n.slow, n.stalled, n.storage.failing = 0, false, false }

// leader returns a node that believes it leads, nil if none does.
func (w *World) leader() *node {
	return w.nodeWhere((*node).leads)
}
