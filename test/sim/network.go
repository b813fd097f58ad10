// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"io"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
)

// network carries messages, as bytes, between nodes.
type network struct {
	world *World
	cut   map[link]bool
}

// link is one direction between two nodes.
type link struct{ from, to uint64 }

func newNetwork(w *World) *network { return &network{world: w, cut: make(map[link]bool)} }

// isolate cuts every link between group and the others, both ways.
func (n *network) isolate(group map[uint64]bool) {
	for _, a := range n.world.nodes {
		for _, b := range n.world.nodes {
			if group[a.id] != group[b.id] {
				n.cut[link{a.id, b.id}] = true
			}
		}
	}
}

// heal joins everything again.
func (n *network) heal() { clear(n.cut) }

// delay draws how long a message is on its way.
func (n *network) delay() time.Duration {
	w := n.world
	d := w.rng.between(w.plan.minDelay, w.plan.maxDelay)
	if w.plan.has(faultReorder) && !w.healed && w.rng.chance(w.plan.late) {
		late := 100 * time.Millisecond
		if w.rng.chance(0.05) {
			late = 3 * time.Second
		}
		d += w.rng.between(0, late)
	}
	return d
}

// lost draws whether a message is lost.
func (n *network) lost() bool {
	w := n.world
	return w.plan.has(faultLoss) && !w.healed && w.rng.chance(w.plan.loss)
}

// transport is a node's raftlog.Transport.
type transport struct {
	node *node
	net  *network
}

// Send implements raftlog.Transport.
func (t transport) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		t.net.send(t.node, m)
	}
}

// send puts one message, or two of it, on its way.
func (n *network) send(from *node, m *raftpb.Message) {
	w := n.world
	if w.plan.bug == BugUnstamped && m.GetType() == raftpb.MsgProp {
		m.Term = nil
	}
	data, err := proto.Marshal(m)
	if err != nil {
		w.failf("n%d: encode %v: %v", from.id, m.GetType(), err)
		return
	}
	copies := 1
	if w.plan.has(faultReorder) && !w.healed && w.rng.chance(w.plan.twice) {
		copies = 2
	}
	to := m.GetTo()
	for range copies {
		if n.lost() {
			continue
		}
		w.after(n.delay(), func() { n.deliver(from, to, data) })
	}
}

// deliver hands a message to its receiver, if it can be reached by now.
func (n *network) deliver(from *node, to uint64, data []byte) {
	w := n.world
	receiver := w.node(to)
	if receiver == nil || !receiver.up || n.cut[link{from.id, to}] {
		if from.up && w.rng.chance(0.3) {
			from.run("unreachable", func() { from.log.Log().ReportUnreachable(to) })
		}
		return
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		w.failf("n%d: decode a message: %v", to, err)
		return
	}
	receiver.step(m)
}

// snapshotBytesPerSecond is how fast a snapshot's body travels.
const snapshotBytesPerSecond = 1 << 20

// SendSnapshot implements raftlog.Transport.
func (t transport) SendSnapshot(m *raftpb.Message, s *raftlog.StateSnapshot) {
	w, from, to, incarnation := t.net.world, t.node, m.GetTo(), t.node.incarnation
	report := func(after time.Duration, status raft.SnapshotStatus) {
		w.after(after, func() {
			if from.up && from.incarnation == incarnation {
				w.note(from.id, "snap-report", "", to, uint64(status))
				from.run("report", func() { from.log.Log().ReportSnapshot(to, status) })
			}
		})
	}
	body, err := io.ReadAll(s.Body)
	if err != nil {
		w.failf("n%d: read a snapshot's body: %v", from.id, err)
		return
	}
	if err := s.Body.Close(); err != nil {
		w.failf("n%d: close a snapshot's body: %v", from.id, err)
		return
	}
	if int64(len(body)) != s.Size {
		w.failf("n%d: a snapshot of %d bytes has a body of %d", from.id, s.Size, len(body))
		return
	}
	data, err := proto.Marshal(m)
	if err != nil {
		w.failf("n%d: encode a snapshot: %v", from.id, err)
		return
	}
	w.note(from.id, "snap-send", "", to, m.GetSnapshot().GetMetadata().GetIndex(), uint64(len(body)))
	took := t.net.delay() + time.Duration(len(body))*time.Second/snapshotBytesPerSecond
	if w.plan.has(faultCutSnapshot) && !w.healed && w.rng.chance(0.4) {
		body = body[:w.rng.IntN(len(body))]
	}
	w.after(took, func() { report(t.net.delay(), t.net.deliverSnapshot(from, to, data, body)) })
}

// deliverSnapshot stores a snapshot's body with its receiver and then tells raft there of it. It returns what
// the sender gets to know.
func (n *network) deliverSnapshot(from *node, to uint64, data, body []byte) raft.SnapshotStatus {
	w := n.world
	receiver := w.node(to)
	if receiver == nil || !receiver.up || n.cut[link{from.id, to}] {
		return raft.SnapshotFailure
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		w.failf("n%d: decode a snapshot: %v", to, err)
		return raft.SnapshotFailure
	}
	if err := receiver.sm.receive(m.GetSnapshot().GetMetadata().GetIndex(), body); err != nil {
		w.note(to, "snap-refused", err.Error())
		return raft.SnapshotFailure
	}
	if !receiver.step(m) {
		return raft.SnapshotFailure
	}
	// The answer goes back over the same connection.
	if n.cut[link{to, from.id}] || n.lost() {
		return raft.SnapshotFailure
	}
	return raft.SnapshotFinish
}
