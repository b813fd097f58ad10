// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
)

// history is the one sequence of entries that all nodes must apply, as it becomes known by the first node that
// applies each, and what an oracle makes of it.
type history struct {
	world   *World
	oracle  *keyspace
	records []record          // of index 1 on
	confs   []configuration   // that were in force, in order
	seen    map[uint64]uint64 // proposals applied, with their index
	refused map[uint64]bool   // proposals that the log said it did not take
	events  []watchEvent      // all, compacted or not
	byKey   map[string][]watchEvent
	leaders map[uint64]run // by term
	acked   int64          // the highest revision that any client has seen in a write or a linearizable read
}

// run is a node between two crashes.
type run struct{ node, incarnation uint64 }

// record is what must be the same on all nodes.
type record struct {
	term    uint64
	payload uint64 // hash
	outcome outcome
	hash    uint64 // of the state afterwards
	rev     int64  // afterwards
}

type configuration struct {
	index  uint64
	voters []uint64
}

func newHistory(w *World) *history {
	h := &history{
		world: w, oracle: newKeyspace(), seen: make(map[uint64]uint64), refused: make(map[uint64]bool),
		byKey: make(map[string][]watchEvent), leaders: make(map[uint64]run),
	}
	h.oracle.onEvent = func(e watchEvent) {
		h.events = append(h.events, e)
		h.byKey[e.Key] = append(h.byKey[e.Key], e)
	}
	return h
}

// last returns the index of the newest entry that any node applied.
func (h *history) last() uint64 { return uint64(len(h.records)) }

// leads checks that a term has one leader, and that it does not lead again after a restart.
func (h *history) leads(n *node, term uint64) {
	now := run{n.id, n.incarnation}
	switch before, ok := h.leaders[term]; {
	case !ok:
		h.leaders[term] = now
		h.world.note(n.id, "leads", "", term)
	case before != now:
		h.world.failf("invariant 1: n%d led in term %d (its run %d), and now n%d does (its run %d)", before.node, term, before.incarnation, n.id, n.incarnation)
	}
}

// applied checks an entry that a node applied against what others made of it. A hash of 0 is not known.
func (h *history) applied(n *node, e raftlog.Entry, o outcome, hash uint64) {
	h.note(n, e.Index, e.Term, mixBytes(0, e.Data), func() record {
		want, err := h.oracle.applyEntry(e)
		if err != nil {
			h.world.failf("oracle: %w", err)
		}
		h.count(want.id, e.Index)
		return record{outcome: want, hash: h.oracle.Hash}
	})
	if h.world.failure != nil {
		return
	}
	want := h.records[e.Index-1]
	if o != want.outcome {
		h.world.failf("invariant 2: n%d: entry %d gave %+v, elsewhere %+v", n.id, e.Index, o, want.outcome)
	}
	h.compare(n, e.Index, hash)
}

func (h *history) appliedEmpty(n *node, index, term, hash uint64) {
	h.note(n, index, term, 0, func() record {
		h.oracle.applyEmpty(index, term)
		return record{hash: h.oracle.Hash}
	})
	h.compare(n, index, hash)
}

func (h *history) appliedConf(n *node, change raftlog.ConfChange, conf *raftpb.ConfState, hash uint64) {
	payload := mixBytes(mix(0, change.ID), change.Context)
	if change.Index > uint64(h.world.plan.nodes) {
		// Founders know all founders from the beginning, who joins later learns of one after the other.
		payload = mixBytes(payload, encode(conf))
	}
	h.note(n, change.Index, change.Term, payload, func() record {
		h.oracle.applyConfChange(change, conf)
		h.confs = append(h.confs, configuration{change.Index, slices.Clone(conf.GetVoters())})
		h.count(change.ID, change.Index)
		return record{hash: h.oracle.Hash}
	})
	h.compare(n, change.Index, hash)
	n.conf = proto.Clone(conf).(*raftpb.ConfState)
	h.world.note(n.id, "conf", fmt.Sprintf("voters %d, learners %d", conf.GetVoters(), conf.GetLearners()), change.Index)
}

// note checks an entry's place and content, and has the oracle apply it if it is new.
func (h *history) note(n *node, index, term, payload uint64, apply func() record) {
	if index != n.applied+1 {
		h.world.failf("invariant 2: n%d applied entry %d after entry %d", n.id, index, n.applied)
		return
	}
	n.applied = index
	switch {
	case index == h.last()+1:
		r := apply()
		r.term, r.payload, r.rev = term, payload, h.oracle.Rev
		h.records = append(h.records, r)
		h.world.note(n.id, "applied-first", "", index, term)
	case index > h.last():
		h.world.failf("invariant 2: n%d applied entry %d, nobody has applied entry %d", n.id, index, h.last()+1)
	case h.records[index-1].term != term || h.records[index-1].payload != payload:
		h.world.failf("invariant 1: n%d applied another entry %d: term %d, was %d", n.id, index, term, h.records[index-1].term)
	}
}

// count checks that a proposal is applied once at most, and not if the log had refused it.
func (h *history) count(id, index uint64) {
	if id == 0 {
		return // a founder
	}
	if before, twice := h.seen[id]; twice {
		h.world.failf("exactly once: proposal %d was applied as entry %d and as entry %d", id, before, index)
	}
	if h.refused[id] {
		h.world.failf("exactly once: proposal %d was refused and applied as entry %d", id, index)
	}
	h.seen[id] = index
}

// compare checks a node's state after an entry.
func (h *history) compare(n *node, index, hash uint64) {
	if h.world.failure == nil && hash != 0 && hash != h.records[index-1].hash {
		h.world.failf("invariant 2: n%d has another state after entry %d", n.id, index)
	}
}

// restored checks a node's state after it installed a snapshot.
func (h *history) restored(n *node, index uint64) {
	if index <= n.applied {
		h.world.failf("invariant 4: n%d went back from entry %d to a snapshot of entry %d", n.id, n.applied, index)
	}
	n.applied = index
	h.known(n, index)
	h.world.note(n.id, "restored", "", index)
}

// started checks the state that a node came back with.
func (h *history) started(n *node, index uint64) {
	n.applied = index
	if index > 0 {
		h.known(n, index)
	}
}

// known checks that a node's state is the one that uncrashed nodes had after the entry.
func (h *history) known(n *node, index uint64) {
	if index > h.last() {
		h.world.failf("invariant 3: n%d holds entry %d, which nobody has applied", n.id, index)
		return
	}
	want := h.records[index-1]
	if m, ok := n.sm.(*memoryMachine); ok && m.keyspace.Hash != want.hash {
		h.world.failf("invariant 3: n%d is at entry %d with a state that no uncrashed node had", n.id, index)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(h.byKey)) {
		if _, rev := h.local(n, key); rev != want.rev {
			h.world.failf("invariant 3: n%d is at entry %d with revision %d, uncrashed nodes had %d", n.id, index, rev, want.rev)
		}
	}
}

// acknowledged checks that a proposal which its proposer was told of is applied, and is on the synced disks of a quorum.
func (h *history) acknowledged(n *node, id uint64) {
	index, ok := h.seen[id]
	if !ok {
		h.world.failf("invariant 1: n%d acknowledged proposal %d, which nobody has applied", n.id, id)
		return
	}
	term := h.records[index-1].term
	// An entry is committed under the configuration that the changes before it made.
	at := len(h.confs) - 1
	for at > 0 && h.confs[at].index >= index {
		at--
	}
	// A leader that has not applied that change yet may have counted with the one before.
	if h.world.plan.blind || h.onQuorum(h.confs[at].voters, index, term) || h.onQuorum(h.confs[max(at-1, 0)].voters, index, term) {
		return
	}
	h.world.failf("invariant 1: proposal %d (entry %d of term %d) was acknowledged by n%d and is not on the disks of a quorum", id, index, term, n.id)
}

func (h *history) onQuorum(voters []uint64, index, term uint64) bool {
	have := 0
	for _, id := range voters {
		if n := h.world.node(id); n.storage.ledger.synced.holds(index, term) || n.disk.durable() >= index {
			have++
		}
	}
	return have > len(voters)/2
}

// at returns what a key held at a revision.
func (h *history) at(key string, rev int64) (value string, mod int64) {
	list := h.byKey[key]
	i, _ := slices.BinarySearchFunc(list, rev+1, func(e watchEvent, rev int64) int { return int(e.Rev - rev) })
	if i == 0 || list[i-1].Deleted {
		return "", 0
	}
	return list[i-1].Value, list[i-1].Rev
}
