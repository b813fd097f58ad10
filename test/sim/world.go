// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// World is a cluster with all that surrounds it, driven by one goroutine: what happens next is the earliest
// event of a queue, and what it leads to is decided by the seed.
type World struct {
	plan    plan
	dir     string
	context context.Context
	rng     random
	now     time.Duration
	queue   eventQueue
	queued  uint64
	trace   trace

	net      *network
	nodes    []*node // by id, those that left included
	history  *history
	clients  []*client
	watchers []*watcher
	nemesis  *nemesis
	admin    *admin

	operations   []porcupine.Operation
	acknowledged uint64 // writes
	ids          uint64 // of proposals
	values       uint64 // written
	healed       bool   // no more faults
	closing      bool   // no more operations
	failure      error
}

// event is something that happens at a time. Events of one time happen in the order in which they were made.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// after has do called in d.
func (w *World) after(d time.Duration, do func()) {
	w.queued++
	heap.Push(&w.queue, event{w.now + d, w.queued, do})
}

// note adds to the trace.
func (w *World) note(node uint64, what, note string, args ...uint64) {
	e := traceEvent{at: w.now, node: node, what: what, note: note}
	copy(e.args[:], args)
	w.trace.add(e)
}

// failf ends the run. The first failure counts.
func (w *World) failf(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
		w.note(0, "FAILURE", w.failure.Error())
	}
}

// runUntil lets things happen until done, a failure or the time limit. It says whether done was reached.
func (w *World) runUntil(limit time.Duration, done func() bool) bool {
	for w.failure == nil {
		if done() {
			return true
		}
		if len(w.queue) == 0 || w.queue[0].at > limit {
			w.now = limit
			return done()
		}
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	return false
}

// node returns a node by its id, nil if there is none.
func (w *World) node(id uint64) *node {
	if id == 0 || id > uint64(len(w.nodes)) {
		return nil
	}
	return w.nodes[id-1]
}

// nodeWhere returns one of the nodes that fit, nil if none does.
func (w *World) nodeWhere(fits func(*node) bool) *node {
	var list []*node
	for _, n := range w.nodes {
		if fits(n) {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(w.rng, list)
}

// newID returns an id for a proposal.
func (w *World) newID() uint64 {
	w.ids++
	return w.ids
}

// newValue returns a value that was never written.
func (w *World) newValue() string {
	w.values++
	return fmt.Sprintf("v%d", w.values)
}
