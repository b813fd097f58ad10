// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"time"
)

// watcher follows some keys through crashes, from one member to the next, and checks what it is told against
// all that was written.
type watcher struct {
	world       *World
	number      uint64
	lo, hi      string
	expected    int64 // no event before this revision is to come any more
	at          int   // in history.events, of the first event that may still come
	member      *node
	incarnation uint64
	stream      stream
}

// watchRanges are what watchers follow: everything, the pair, one key.
var watchRanges = [][2]string{{"a", "z"}, {"p/", "p0"}, {"k0", ""}, {"k", "l"}}

func newWatcher(w *World, number uint64) *watcher {
	r := pick(w.rng, watchRanges)
	v := &watcher{world: w, number: number, lo: r[0], hi: r[1], expected: 1}
	w.after(w.rng.between(0, time.Second), v.poll)
	return v
}

// poll takes what there is, or opens the stream again elsewhere.
func (v *watcher) poll() {
	w := v.world
	if v.stream != nil && (!v.member.up || v.member.incarnation != v.incarnation) {
		v.stream = nil
	}
	if v.stream != nil && (w.rng.chance(0.05) || !v.member.member()) {
		v.stream.close()
		v.stream = nil
	}
	if v.stream == nil {
		v.open()
	}
	for range 3 {
		if v.stream != nil {
			v.take()
		}
	}
	w.after(w.rng.between(10*time.Millisecond, 300*time.Millisecond), v.poll)
}

func (v *watcher) open() {
	w := v.world
	n := w.nodeWhere((*node).member)
	if n == nil {
		return
	}
	s, err := n.sm.watch(v.lo, v.hi, v.expected)
	if err != nil {
		w.failf("invariant 5: watcher %d at n%d: %w", v.number, n.id, err)
		return
	}
	v.member, v.incarnation = n, n.incarnation
	v.stream = w.plan.bug.stream(w, s)
	w.note(n.id, "watch", "", v.number, uint64(v.expected))
}

// take checks one response.
func (v *watcher) take() {
	w := v.world
	due := int64(0)
	if next := v.peek(); next != nil {
		due = next.Rev
	}
	events, progress, err := v.stream.next(due)
	switch {
	case errors.Is(err, errCompacted):
		if v.expected >= w.history.oracle.Compact {
			w.failf("invariant 5: watcher %d wants revision %d and is told that it is compacted", v.number, v.expected)
		}
		w.note(v.member.id, "compacted", "", v.number, uint64(v.expected))
		v.stream.close()
		v.stream = nil
		v.expected = w.history.oracle.Compact
		v.skip()
		return
	case err != nil:
		w.failf("invariant 5: watcher %d: %w", v.number, err)
		return
	}
	for _, e := range events {
		v.event(e)
	}
	if n := len(events); n > 0 {
		last := events[n-1].Rev
		if next := v.peek(); next != nil && next.Rev == last {
			w.failf("invariant 5: watcher %d got a part of revision %d", v.number, last)
		}
		v.expected = last + 1
	}
	if progress >= v.expected {
		if next := v.peek(); next != nil && next.Rev <= progress {
			w.failf("invariant 5: watcher %d is told of progress to %d without the event of %s at revision %d", v.number, progress, next.Key, next.Rev)
		}
		v.expected = progress + 1
	}
}

// event checks that e is the one that comes next.
func (v *watcher) event(e watchEvent) {
	w := v.world
	want := v.peek()
	if e.Rev < v.expected {
		w.failf("invariant 5: watcher %d got revision %d, %d is due", v.number, e.Rev, v.expected)
		return
	}
	if want == nil || *want != e {
		w.failf("invariant 5: watcher %d got %+v, %+v is due", v.number, e, want)
		return
	}
	v.at++
}

// peek returns the next event that there is for the watcher, nil if there is none.
func (v *watcher) peek() *watchEvent {
	events := v.world.history.events
	for v.at < len(events) && !inRange(events[v.at].Key, v.lo, v.hi) {
		v.at++
	}
	if v.at == len(events) {
		return nil
	}
	return &events[v.at]
}

// skip passes over what is compacted.
func (v *watcher) skip() {
	for next := v.peek(); next != nil && next.Rev < v.expected; next = v.peek() {
		v.at++
	}
}

// done says whether the watcher has all events.
func (v *watcher) done() bool { return v.peek() == nil }
