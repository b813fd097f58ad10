// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/pkg/v3/adt"
)

// hub hands applied events to watchers.
//
// A watcher is synced or lagging. A synced one stands in the hub's index and
// gets events from apply through its stream's queue. One that starts in the
// past, or whose stream's queue is full, is lagging: it stands on its stream's
// list and the stream's own reader pulls history for it in pages, first from
// SQLite, then from the ring of recent events, until its next revision is
// above the hub's; then, under the hub's lock, it joins the index. Because
// notify holds that lock too, nothing falls between.
//
// So a slow client costs its own reader, bounded memory, and nobody else.
type hub struct {
	store *Store
	limit watchLimits

	backlog atomic.Int64 // bytes queued on all streams
	lagging atomic.Int64
	streams atomic.Int64
	count   atomic.Int64
	events  atomic.Int64 // ever notified
	pending atomic.Int64 // events queued on all streams

	mu     sync.Mutex
	rev    int64 // newest revision told to watchers
	keys   map[string]map[*watcher]struct{}
	ranges adt.IntervalTree // of map[*watcher]struct{}
	spans  int              // intervals in ranges
	ring   eventRing
}

type watchLimits struct {
	streamBytes int64 // queued on one stream
	streamItems int
	totalBytes  int64 // queued on all streams
}

func newHub(s *Store, rev int64, o Options) *hub {
	return &hub{
		store: s,
		limit: watchLimits{
			streamBytes: o.StreamQueueBytes,
			streamItems: o.StreamQueueItems,
			totalBytes:  o.WatchBacklogBytes,
		},
		rev:    rev,
		keys:   make(map[string]map[*watcher]struct{}),
		ranges: adt.NewIntervalTree(),
		ring:   eventRing{first: rev + 1, limit: o.EventRingEvents},
	}
}

// event is one write as watchers see it. prev is what the key held at the
// revision before, nil for nothing.
type event struct {
	key  string
	v    *version
	prev *version
}

// bytes estimates what the event costs on a queue.
func (e *event) bytes() int64 {
	n := int64(e.v.size) + int64(len(e.key)) + 64
	if e.prev != nil {
		n += int64(e.prev.size)
	}
	return n
}

// revisionEvents are all events of one revision, in the order of the writes.
type revisionEvents struct {
	revision int64
	events   []event
}

// eventRing keeps the newest events in memory, oldest first, so that watchers
// a little behind need no SQLite. It always keeps what SQLite has not
// committed yet, and beyond that up to limit events.
type eventRing struct {
	first  int64 // every event with revision >= first is here
	limit  int
	count  int
	groups []revisionEvents
}

func (r *eventRing) push(groups []revisionEvents, committedSeq int64) {
	for _, g := range groups {
		r.groups = append(r.groups, g)
		r.count += len(g.events)
	}
	drop := 0
	for drop < len(r.groups) && r.count > r.limit {
		g := r.groups[drop]
		if g.events[len(g.events)-1].v.seq > committedSeq {
			break
		}
		r.count -= len(g.events)
		r.first = g.revision + 1
		r.groups[drop] = revisionEvents{}
		drop++
	}
	r.groups = r.groups[drop:]
}

// since returns up to limit events of whole revisions from rev on; rev must
// be >= first. Groups are shared and must not be changed.
func (r *eventRing) since(rev int64, limit int) []revisionEvents {
	lo, hi := 0, len(r.groups)
	for lo < hi {
		if mid := (lo + hi) / 2; r.groups[mid].revision < rev {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	n, end := 0, lo
	for end < len(r.groups) && n < limit {
		n += len(r.groups[end].events)
		end++
	}
	return append([]revisionEvents(nil), r.groups[lo:end]...)
}

// notify tells watchers about the revisions of one applied batch and moves the
// hub to rev. The view with these revisions is published before.
func (h *hub) notify(groups []revisionEvents, rev, committedSeq int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var touched []*watcher
	for i := range groups {
		for j := range groups[i].events {
			touched = h.match(&groups[i].events[j], touched)
		}
		h.events.Add(int64(len(groups[i].events)))
	}
	h.ring.push(groups, committedSeq)
	h.rev = rev
	for _, w := range touched {
		if !w.stream.push(w) {
			h.remove(w)
			w.stream.lag(w, w.pending[0].v.revision)
		}
		w.pending = nil
	}
}

// match appends the event to the pending list of every synced watcher that
// wants it and returns the watchers that have one.
func (h *hub) match(e *event, touched []*watcher) []*watcher {
	var shared *sharedEvent
	give := func(set map[*watcher]struct{}) {
		for w := range set {
			if !w.wants(e) {
				continue
			}
			if shared == nil {
				shared = &sharedEvent{event: *e}
			}
			if w.pending == nil {
				touched = append(touched, w)
			}
			w.pending = append(w.pending, shared)
		}
	}
	if set := h.keys[e.key]; set != nil {
		give(set)
	}
	if h.spans > 0 {
		h.ranges.Visit(adt.NewStringAffinePoint(e.key), func(n *adt.IntervalValue) bool {
			give(n.Val.(map[*watcher]struct{}))
			return true
		})
	}
	return touched
}

// insert puts a watcher in the index; the caller holds mu.
func (h *hub) insert(w *watcher) {
	w.synced = true
	if w.single {
		set := h.keys[w.lo]
		if set == nil {
			set = make(map[*watcher]struct{})
			h.keys[w.lo] = set
		}
		set[w] = struct{}{}
		return
	}
	iv := adt.NewStringAffineInterval(w.lo, w.hi)
	if n := h.ranges.Find(iv); n != nil {
		n.Val.(map[*watcher]struct{})[w] = struct{}{}
		return
	}
	h.ranges.Insert(iv, map[*watcher]struct{}{w: {}})
	h.spans++
}

// remove takes a watcher out of the index; the caller holds mu.
func (h *hub) remove(w *watcher) {
	if !w.synced {
		return
	}
	w.synced = false
	if w.single {
		set := h.keys[w.lo]
		delete(set, w)
		if len(set) == 0 {
			delete(h.keys, w.lo)
		}
		return
	}
	iv := adt.NewStringAffineInterval(w.lo, w.hi)
	n := h.ranges.Find(iv)
	set := n.Val.(map[*watcher]struct{})
	delete(set, w)
	if len(set) == 0 {
		h.ranges.Delete(iv)
		h.spans--
	}
}

// catchUp reads the next page of history for a lagging watcher. It returns
// the events that the watcher wants, possibly none, and whether it is synced
// now. A start below the compacted revision is errWatchCompacted.
func (h *hub) catchUp(ctx context.Context, w *watcher) ([]*sharedEvent, bool, error) {
	h.mu.Lock()
	if w.next > h.rev {
		w.stream.join(w)
		h.mu.Unlock()
		return nil, true, nil
	}
	view := h.store.view.Load()
	if w.next < view.compactRev {
		h.mu.Unlock()
		return nil, false, ErrCompacted
	}
	ringFirst := h.ring.first
	if w.next >= ringFirst {
		groups := h.ring.since(w.next, historyPageRows)
		h.mu.Unlock()
		w.next = groups[len(groups)-1].revision + 1
		return w.filter(groups, view), false, nil
	}
	h.mu.Unlock()
	return h.catchUpFromRows(ctx, w, ringFirst)
}

// catchUpFromRows reads one page of rows below revision end, all of which
// SQLite has committed.
func (h *hub) catchUpFromRows(ctx context.Context, w *watcher, end int64) ([]*sharedEvent, bool, error) {
	page, err := h.store.historyPage(ctx, w, end)
	if err != nil {
		return nil, false, err
	}
	// Compaction may have taken rows while the page was read: what it has
	// not touched is only what lies at or above the compacted revision.
	if w.next < h.store.view.Load().compactRev {
		return nil, false, ErrCompacted
	}
	w.next, w.cursor = page.next, page.cursor
	return page.events, false, nil
}

// restored goes on at revision rev after the history between was replaced at one
// blow: publish shows it to readers. Watchers that it has something for, or that
// it may have, read it as others read history.
func (h *hub) restored(rev int64, publish func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	publish()
	told := h.rev
	h.rev = rev
	h.ring = eventRing{first: rev + 1, limit: h.ring.limit}
	for _, w := range h.synced() {
		// All up to told were handed to it, those that it did not want included.
		if next := max(w.next, told+1); next <= rev {
			h.remove(w)
			w.stream.lag(w, next)
		}
	}
}

// everything meets every interval of keys. As a bound the empty string is beyond all others, at the beginning, too.
var everything = adt.NewStringAffineInterval("\x00", "")

// synced returns the watchers in the index; the caller holds mu.
func (h *hub) synced() []*watcher {
	var all []*watcher
	for _, set := range h.keys {
		all = slices.AppendSeq(all, maps.Keys(set))
	}
	if h.spans > 0 {
		h.ranges.Visit(everything, func(n *adt.IntervalValue) bool {
			all = slices.AppendSeq(all, maps.Keys(n.Val.(map[*watcher]struct{})))
			return true
		})
	}
	return all
}
