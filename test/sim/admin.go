// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog"
)

// admin changes the membership, one step at a time, and replaces members whose data is gone. It keeps to what an
// operator may do: it never takes away what a quorum needs.
type admin struct {
	world   *World
	waiting bool
	unclear bool  // a change has no answer: it may happen at any time
	wiped   *node // a voter without data, to be removed
}

func newAdmin(w *World) *admin {
	a := &admin{world: w}
	if w.plan.has(faultMembers) || w.plan.has(faultWipe) {
		w.after(w.rng.between(time.Second, 3*time.Second), a.act)
	}
	return a
}

// act does the next step, if there is one.
func (a *admin) act() {
	w := a.world
	if w.healed && a.wiped == nil {
		return
	}
	w.after(w.rng.between(300*time.Millisecond, 2500*time.Millisecond), a.act)
	a.stopRemoved()
	leader := w.leader()
	if leader == nil || a.waiting {
		return
	}
	if a.wiped != nil {
		a.remove(a.wiped)
		return
	}
	voters, learners := w.members()
	switch r := w.rng.Float64(); {
	case len(learners) > 0 && r < 0.6:
		a.promote(leader, pick(w.rng, learners))
	case w.plan.has(faultWipe) && !a.unclear && len(learners) == 0 && len(voters) >= 3 && r < 0.75 && w.allKnowMembers(voters):
		a.wipe(pick(w.rng, voters))
	case w.plan.has(faultMembers) && len(voters) > 3 && r < 0.9:
		a.remove(pick(w.rng, voters))
	case len(voters)+len(learners) < w.plan.nodes+1 && len(w.nodes) < maxNodes:
		a.add()
	}
}

// maxNodes bounds how many nodes a world gets in all.
const maxNodes = 12

// members returns the voters and learners of the newest configuration that is known.
func (w *World) members() (voters, learners []*node) {
	for _, n := range w.nodes {
		switch k := w.history.oracle; {
		case k.Learners[n.id]:
			learners = append(learners, n)
		case k.Members[n.id]:
			voters = append(voters, n)
		}
	}
	return voters, learners
}

// add adds a learner and starts it.
func (a *admin) add() {
	n := newNode(a.world, raftlog.StartJoin)
	a.change(raftpb.ConfChangeAddLearnerNode, n.id, func() { n.start() })
}

// promote makes a learner that has caught up a voter.
func (a *admin) promote(leader, learner *node) {
	status := leader.log.Log().Status()
	for _, p := range leader.log.Log().Progress() {
		if p.ID == learner.id && p.Match+10 > status.CommitIndex {
			a.change(raftpb.ConfChangeAddNode, learner.id, func() {})
			return
		}
	}
}

// allKnowMembers says whether all voters run and will know who the voters are even after a loss of power. Otherwise those
// that are left may believe to need the votes of members that are gone.
func (w *World) allKnowMembers(voters []*node) bool {
	confs := w.history.confs
	for _, n := range voters {
		if !n.up || n.storage.ledger.synced.commit < confs[len(confs)-1].index {
			return false
		}
	}
	return true
}

// wipe takes a voter's data away for good.
func (a *admin) wipe(n *node) {
	a.world.note(n.id, "wipe", "")
	n.crash(crashPower, "wipe")
	n.gone = true
	a.wiped = n
	a.remove(n)
}

func (a *admin) remove(n *node) {
	a.change(raftpb.ConfChangeRemoveNode, n.id, func() {}) // stopRemoved sees when it is
}

// change proposes a change of membership at some member; done is called when it may be in force.
func (a *admin) change(kind raftpb.ConfChangeType, id uint64, done func()) {
	w := a.world
	at := w.nodeWhere((*node).member)
	if at == nil {
		return
	}
	proposal := w.newID()
	w.note(at.id, "change", kind.String(), proposal, id)
	cc := &raftpb.ConfChange{Type: kind.Enum(), NodeId: new(id), Id: new(proposal), Context: memberPayload(kind, id, kind == raftpb.ConfChangeAddNode)}
	var answer <-chan raftlog.Outcome
	at.run("change", func() { answer = at.log.ProposeConfChange(cc) })
	a.waiting = true
	ended := false
	end := func(clear bool) {
		if ended {
			return
		}
		ended, a.waiting = true, false
		a.unclear = a.unclear || !clear
		w.note(at.id, "changed", "", proposal, id)
		if w.history.seen[proposal] != 0 || !clear {
			done()
		}
	}
	w.after(requestTimeout, func() { end(false) })
	if answer == nil || !at.up {
		end(false)
		return
	}
	at.calls = append(at.calls, &call{
		poll: func() bool {
			select {
			case o := <-answer:
				end(o.Err == nil)
				return true
			default:
				return ended
			}
		},
		lost: func() { end(false) },
	})
}

// stopRemoved ends members that were removed, as they do themselves or an operator does.
func (a *admin) stopRemoved() {
	for _, n := range a.world.nodes {
		if a.world.history.oracle.Removed[n.id] && !n.gone {
			n.crash(crashProcess, "removed")
			n.gone = true
		}
		if a.wiped == n && a.world.history.oracle.Removed[n.id] {
			a.wiped = nil
		}
	}
}
