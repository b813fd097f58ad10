// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/raftlog"
)

// requestTimeout is how long a client waits for an answer.
const requestTimeout = 4 * time.Second

// client does one operation after another, at whichever member it likes.
type client struct {
	world  *World
	number int
	member *node
	seen   map[string]string // what it last saw of each key
	leases []int64
	busy   bool
}

// opKind is what a client does.
type opKind int

const (
	opPut opKind = iota
	opSwap
	opDelete
	opPair
	opRead
	opReadPair
	opLocalRead
	opGrant
	opRevoke
	opLeasedPut
	opCompact
)

// pairKeys are always written together.
var pairKeys = [2]string{"p/a", "p/b"}

// operation is one that was called, for the checkers.
type operation struct {
	kind     opKind
	key      string
	value    string // written
	expected string // to be there, for a swap
	called   time.Duration
	floor    int64 // revision that was acknowledged to anybody before the call
	proposal uint64
}

// result is what a client was told. An operation without one may still happen.
type result struct {
	ok      bool // a swap's branch
	deleted bool
	value   string // read
}

func newClient(w *World, number int) *client {
	c := &client{world: w, number: number, seen: make(map[string]string)}
	w.after(w.rng.between(0, w.plan.think), c.next)
	return c
}

// next begins another operation.
func (c *client) next() {
	w := c.world
	if w.closing {
		return
	}
	if c.member == nil || !c.member.up || w.rng.chance(0.1) {
		c.member = w.nodeWhere((*node).member)
	}
	if c.member == nil {
		w.after(100*time.Millisecond, c.next)
		return
	}
	c.do(c.draw())
}

// draw decides what to do.
func (c *client) draw() operation {
	w := c.world
	op := operation{key: fmt.Sprintf("k%d", w.rng.IntN(w.plan.keys)), value: w.newValue()}
	switch r := w.rng.Float64(); {
	case r < 0.30:
		op.kind = opPut
	case r < 0.42:
		op.kind, op.expected = opSwap, c.seen[op.key]
		if op.expected == "" {
			op.kind = opPut
		}
	case r < 0.50:
		op.kind = opDelete
	case r < 0.58:
		op.kind, op.key = opPair, pairKeys[0]
	case r < 0.78:
		op.kind = opRead
	case r < 0.84:
		op.kind, op.key = opReadPair, pairKeys[0]
	case r < 0.90:
		op.kind = opLocalRead
	case r < 0.93 || len(c.leases) == 0:
		op.kind = opGrant
	case r < 0.98:
		op.kind, op.key = opLeasedPut, fmt.Sprintf("l%d", w.rng.IntN(3))
	default:
		op.kind = opRevoke
	}
	if w.plan.has(faultCompact) && w.rng.chance(0.01) {
		op.kind = opCompact
	}
	return op
}

// do calls an operation at the client's member.
func (c *client) do(op operation) {
	w := c.world
	op.called, op.floor = w.now, w.history.acked
	switch op.kind {
	case opRead, opReadPair:
		c.read(op)
	case opLocalRead:
		w.history.local(c.member, op.key)
		c.rest()
	default:
		op.proposal = w.newID()
		c.propose(op, c.request(op))
	}
}

// request is what an operation proposes.
func (c *client) request(op operation) *pb.InternalRaftRequest {
	r := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: op.proposal}}
	put := func(key string, lease int64) *pb.PutRequest {
		return &pb.PutRequest{Key: []byte(key), Value: []byte(op.value), Lease: lease}
	}
	inTxn := func(p *pb.PutRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
	}
	switch op.kind {
	case opPut:
		r.Put = put(op.key, 0)
	case opSwap:
		r.Txn = &pb.TxnRequest{
			Compare: []*pb.Compare{{Target: pb.Compare_VALUE, Key: []byte(op.key), TargetUnion: &pb.Compare_Value{Value: []byte(op.expected)}}},
			Success: []*pb.RequestOp{inTxn(put(op.key, 0))},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(op.key)}}}},
		}
	case opDelete:
		r.DeleteRange = &pb.DeleteRangeRequest{Key: []byte(op.key)}
	case opPair:
		r.Txn = &pb.TxnRequest{Success: []*pb.RequestOp{inTxn(put(pairKeys[0], 0)), inTxn(put(pairKeys[1], 0))}}
	case opGrant:
		c.leases = append(c.leases, int64(op.proposal))
		r.LeaseGrant = &pb.LeaseGrantRequest{ID: int64(op.proposal), TTL: 3600}
	case opLeasedPut:
		r.Put = put(op.key, pick(c.world.rng, c.leases))
	case opRevoke:
		r.LeaseRevoke = &pb.LeaseRevokeRequest{ID: pick(c.world.rng, c.leases)}
	case opCompact:
		r.Compaction = &pb.CompactionRequest{Revision: c.world.history.acked - c.world.rng.Int64N(20)}
	}
	return r
}

// propose calls a write and waits for its answer.
func (c *client) propose(op operation, request *pb.InternalRaftRequest) {
	w, n := c.world, c.member
	var answer <-chan raftlog.Outcome
	w.note(n.id, "propose", "", op.proposal, uint64(op.kind))
	n.run("propose", func() { answer = n.log.Propose(op.proposal, encode(request)) })
	if answer == nil {
		c.unknown(op)
		return
	}
	c.wait(n, op, func() bool {
		select {
		case o := <-answer:
			c.answered(n, op, o)
			return true
		default:
			return false
		}
	})
}

// wait has poll called until it is answered, the time is up or the node is gone.
func (c *client) wait(n *node, op operation, poll func() bool) {
	done := false
	finish := func(end func()) {
		if !done {
			done = true
			end()
		}
	}
	waiting := &call{
		poll: func() bool {
			if !done && poll() {
				done = true
			}
			return done
		},
		lost: func() { finish(func() { c.unknown(op) }) },
	}
	c.world.after(requestTimeout, func() { finish(func() { c.unknown(op) }) })
	if n.up && !waiting.poll() {
		n.calls = append(n.calls, waiting)
	} else if !n.up {
		waiting.lost()
	}
}

// answered takes a write's answer.
func (c *client) answered(n *node, op operation, o raftlog.Outcome) {
	w := c.world
	switch {
	case errors.Is(o.Err, raftlog.ErrTooManyRequests), errors.Is(o.Err, raftlog.ErrNoSpace), errors.Is(o.Err, raftlog.ErrDuplicateID):
		w.history.refuse(op.proposal)
		c.rest()
		return
	case o.Err != nil:
		c.unknown(op)
		return
	}
	w.note(n.id, "acknowledged", "", op.proposal)
	w.acknowledged++
	got := n.sm.outcome(o.Value)
	w.history.acknowledged(n, op.proposal)
	w.history.write(op, got)
	if !got.failed {
		c.record(op, result{ok: got.ok, deleted: got.deleted > 0, value: swapped(op, got)}, w.now)
	}
	if op.kind == opPut || op.kind == opSwap && got.ok {
		c.seen[op.key] = op.value
	}
	c.rest()
}

// swapped is the value that a swap found, if it did not swap.
func swapped(op operation, got outcome) string {
	if op.kind != opSwap || got.ok {
		return ""
	}
	return valueIn(op.key, got.read)
}

// unknown ends an operation that may or may not have happened, now or later.
func (c *client) unknown(op operation) {
	c.world.note(0, "unknown", "", op.proposal, uint64(op.kind))
	if op.proposal != 0 {
		c.record(op, result{}, math.MaxInt64)
	}
	c.member = nil
	c.rest()
}

// rest waits before the next operation.
func (c *client) rest() {
	c.busy = false
	c.world.after(c.world.rng.between(0, c.world.plan.think), c.next)
}

// read calls a linearizable read.
func (c *client) read(op operation) {
	w, n := c.world, c.member
	var answer <-chan error
	n.run("read", func() {
		if w.plan.bug == BugStaleRead {
			told := make(chan error, 1)
			told <- nil
			answer = told
			return
		}
		answer = n.log.ReadIndex()
	})
	if answer == nil {
		c.unknown(op)
		return
	}
	c.wait(n, op, func() bool {
		select {
		case err := <-answer:
			if err != nil {
				c.unknown(op)
				return true
			}
		default:
			return false
		}
		value := w.history.read(n, op)
		c.seen[op.key] = value
		c.record(op, result{value: value}, w.now)
		c.rest()
		return true
	})
}

// record keeps an operation for the check of linearizability.
func (c *client) record(op operation, r result, returned time.Duration) {
	switch op.kind {
	case opPut, opSwap, opDelete, opPair, opRead, opReadPair:
	default:
		return
	}
	c.world.operations = append(c.world.operations, porcupine.Operation{
		ClientId: c.number, Input: op, Call: int64(op.called),
		Output: answer{result: r, known: returned != math.MaxInt64}, Return: int64(returned),
	})
}

// answer is a result, if there is one.
type answer struct {
	result
	known bool
}
