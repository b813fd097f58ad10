// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"keelson.io/keelson/sqlstore/wire"
)

// Filter leaves events out of a watch.
type Filter struct {
	NoPut    bool
	NoDelete bool
}

// WatchRequest describes a watcher. End is empty for a single key, "\x00" for
// everything from Key on. StartRevision 0 means from now. ID 0 lets the stream
// choose one.
type WatchRequest struct {
	ID            int64
	Key, End      []byte
	StartRevision int64
	PrevKV        bool
	Filter        Filter
}

// BatchKind says what a WatchBatch is.
type BatchKind uint8

// What a stream hands out. Created precedes all else of its watcher; nothing
// of a watcher follows its Canceled or Compacted.
const (
	BatchEvents BatchKind = iota
	BatchCreated
	BatchCanceled
	BatchCompacted
	BatchProgress
)

// ProgressAll is the watch id of a progress answer for a whole stream.
const ProgressAll int64 = -1

// WatchBatch is one response's worth. Events are encoded mvccpb.Events of
// whole revisions, in order; Revision is the store's at that point: no event
// at or below it follows, unless they are of the time before the watcher was
// created. CompactRevision goes with BatchCompacted.
type WatchBatch struct {
	Kind            BatchKind
	WatchID         int64
	Events          [][]byte
	Revision        int64
	CompactRevision int64
}

// watcher is guarded by the hub's lock while synced; while lagging, next and
// cursor belong to its stream's reader.
type watcher struct {
	id       int64
	lo, hi   string // hi is empty for a single key and for no upper end
	single   bool
	prevKV   bool
	filters  Filter
	start    int64
	stream   *WatchStream
	canceled atomic.Bool

	synced   bool
	next     int64 // lowest revision not handed out yet
	cursor   int64 // row to read on from; 0: not known
	restores int   // of the database that has it
	pending  []*sharedEvent
}

func (w *watcher) covers(key string) bool {
	if w.single {
		return key == w.lo
	}
	return key >= w.lo && (w.hi == "" || key < w.hi)
}

// wants reports whether an event of a key that w covers is for w.
func (w *watcher) wants(e *event) bool {
	return e.v.revision >= w.next && w.passes(e)
}

// filter returns the events that w wants. As from SQLite, a previous version is
// shown only if the revision before the event is not compacted: whether it is
// still in memory must not be seen.
func (w *watcher) filter(groups []revisionEvents, view *view) []*sharedEvent {
	var out []*sharedEvent
	for i := range groups {
		for j := range groups[i].events {
			e := &groups[i].events[j]
			if w.covers(e.key) && w.passes(e) && view.keeps(e) {
				shared := &sharedEvent{event: *e}
				if e.v.revision <= view.compactRev {
					shared.prev = nil
				}
				out = append(out, shared)
			}
		}
	}
	return out
}

// keeps says whether compaction leaves the event's write: one of the compacted
// revision itself is gone if the same transaction wrote the key again.
func (w *view) keeps(e *event) bool {
	if e.v.revision > w.compactRev {
		return true
	}
	left, ok := w.tree.Get(e.key)
	return ok && left.latest(w.compactRev) == e.v
}

func (w *watcher) passes(e *event) bool {
	if e.v.tombstone() {
		return !w.filters.NoDelete
	}
	return !w.filters.NoPut
}

// sharedEvent is an event on the queues of any number of streams. The first
// reader encodes it, the others use its bytes.
type sharedEvent struct {
	event
	plain, withPrev atomic.Pointer[[]byte]
}

// encode returns the bytes of the mvccpb.Event. As in etcd it is without the
// previous version when the revision before the event's is compacted, and for a
// key that the event creates, be it after a deletion in the same transaction.
func (e *sharedEvent) encode(ctx context.Context, s *Store, prevKV bool) ([]byte, error) {
	slot := &e.plain
	created := e.v.create == e.v.revision
	if prevKV && e.prev != nil && !created && e.v.revision > s.CompactRevision() {
		slot = &e.withPrev
	}
	if p := slot.Load(); p != nil {
		return *p, nil
	}
	kind, kv, err := mvccpb.Event_PUT, []byte(nil), error(nil)
	if e.v.tombstone() {
		kind = mvccpb.Event_DELETE
		kv = wire.AppendKeyValue(nil, wire.KeyValue{Key: bytesOf(e.key), ModRevision: e.v.revision})
	} else if kv, err = s.loadWrite(ctx, e.key, e.v); err != nil {
		return nil, err
	}
	var prev []byte
	if slot == &e.withPrev {
		// A previous version that compaction has taken is left out, as etcd does.
		if prev, err = s.loadWrite(ctx, e.key, e.prev); err != nil && !errors.Is(err, ErrCompacted) {
			return nil, err
		}
	}
	data := wire.AppendEvent(nil, kind, kv, prev)
	slot.Store(&data)
	return data, nil
}

// item is what stands on a stream's queue.
type item struct {
	batch  WatchBatch // without events
	w      *watcher
	events []*sharedEvent
	bytes  int64
}

// WatchStream is a set of watchers with one reader, as one gRPC Watch stream
// has. Watch, Cancel and the Progress calls may run beside one Next.
type WatchStream struct {
	hub  *hub
	wake chan struct{} // capacity 1: there is something new for Next
	room chan struct{} // capacity 1: the queue got shorter

	mu       sync.Mutex
	closed   bool
	nextID   int64
	watchers map[int64]*watcher
	queue    []item
	bytes    int64
	lagging  []*watcher
}

// NewWatchStream opens a stream; Close frees it.
func (s *Store) NewWatchStream() *WatchStream {
	s.hub.streams.Add(1)
	return &WatchStream{
		hub:      s.hub,
		wake:     make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		watchers: make(map[int64]*watcher),
	}
}

// Watch adds a watcher and queues its BatchCreated, waiting while the client
// leaves too many answers unread. It returns the watcher's id.
// Errors: ErrEmptyWatchRange, ErrWatcherExists, ErrClosed, ctx's.
func (st *WatchStream) Watch(ctx context.Context, r WatchRequest) (int64, error) {
	w := &watcher{
		lo: string(r.Key), prevKV: r.PrevKV, filters: r.Filter,
		start: r.StartRevision, stream: st, single: len(r.End) == 0,
	}
	if len(r.End) > 0 && !(len(r.End) == 1 && r.End[0] == 0) {
		w.hi = string(r.End)
		if w.lo >= w.hi {
			return 0, ErrEmptyWatchRange
		}
	}
	if err := st.waitForRoom(ctx); err != nil {
		return 0, err
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.register(w, r.ID); err != nil {
		return 0, err
	}
	h.count.Add(1)
	st.enqueue(item{w: w, batch: WatchBatch{Kind: BatchCreated, WatchID: w.id, Revision: h.rev}})
	if r.StartRevision == 0 || r.StartRevision > h.rev {
		w.next = max(h.rev+1, r.StartRevision)
		h.insert(w)
		return w.id, nil
	}
	w.next = r.StartRevision
	st.lagging = append(st.lagging, w)
	h.lagging.Add(1)
	return w.id, nil
}

// register gives the watcher its id; the caller holds mu.
func (st *WatchStream) register(w *watcher, id int64) error {
	if st.closed {
		return ErrClosed
	}
	if id == 0 {
		for st.watchers[st.nextID] != nil {
			st.nextID++
		}
		id = st.nextID
		st.nextID++
	} else if st.watchers[id] != nil {
		return ErrWatcherExists
	}
	w.id = id
	st.watchers[id] = w
	return nil
}

// Cancel ends a watcher and queues its BatchCanceled.
// Errors: ErrWatcherNotFound, ErrClosed, ctx's.
func (st *WatchStream) Cancel(ctx context.Context, id int64) error {
	if err := st.waitForRoom(ctx); err != nil {
		return err
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	w := st.watchers[id]
	if w == nil {
		return ErrWatcherNotFound
	}
	st.drop(w)
	st.enqueue(item{batch: WatchBatch{Kind: BatchCanceled, WatchID: id, Revision: h.rev}})
	return nil
}

// drop forgets a watcher; the caller holds both locks.
func (st *WatchStream) drop(w *watcher) {
	w.canceled.Store(true)
	st.hub.remove(w)
	delete(st.watchers, w.id)
	st.unlist(w)
	st.hub.count.Add(-1)
}

// unlist takes a watcher off the lagging list and reports whether it stood
// there; the caller holds mu.
func (st *WatchStream) unlist(w *watcher) bool {
	i := slices.Index(st.lagging, w)
	if i < 0 {
		return false
	}
	st.lagging = slices.Delete(st.lagging, i, i+1)
	st.hub.lagging.Add(-1)
	return true
}

// Progress queues a BatchProgress for one watcher if it is synced and reports
// whether it did. It stands behind every event up to its revision.
func (st *WatchStream) Progress(id int64) bool {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	w := st.watchers[id]
	if w == nil || !w.synced || h.rev < w.start || len(st.queue) >= st.hub.limit.streamItems {
		return false
	}
	st.enqueue(item{w: w, batch: WatchBatch{Kind: BatchProgress, WatchID: id, Revision: h.rev}})
	return true
}

// ProgressAll queues one BatchProgress with id ProgressAll if every watcher of
// the stream is synced, there is at least one and none starts in the future;
// it reports whether it did.
func (st *WatchStream) ProgressAll() bool {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.watchers) == 0 || len(st.queue) >= st.hub.limit.streamItems {
		return false
	}
	for _, w := range st.watchers {
		if !w.synced || h.rev < w.start {
			return false
		}
	}
	st.enqueue(item{batch: WatchBatch{Kind: BatchProgress, WatchID: ProgressAll, Revision: h.rev}})
	return true
}

// Close ends all watchers and makes Next return ErrClosed.
func (st *WatchStream) Close() {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return
	}
	st.closed = true
	for _, w := range st.watchers {
		st.drop(w)
	}
	h.backlog.Add(-st.bytes)
	for i := range st.queue {
		h.pending.Add(-int64(len(st.queue[i].events)))
	}
	st.queue, st.bytes = nil, 0
	h.streams.Add(-1)
	signal(st.wake)
	signal(st.room)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitForRoom holds back a client that asks faster than it reads.
func (st *WatchStream) waitForRoom(ctx context.Context) error {
	for {
		st.mu.Lock()
		full, closed := len(st.queue) >= st.hub.limit.streamItems, st.closed
		st.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if !full {
			return nil
		}
		select {
		case <-st.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enqueue appends to the queue; the caller holds mu.
func (st *WatchStream) enqueue(it item) {
	st.queue = append(st.queue, it)
	st.bytes += it.bytes
	st.hub.backlog.Add(it.bytes)
	st.hub.pending.Add(int64(len(it.events)))
	signal(st.wake)
}

// push queues what notify has gathered for w; false if there is no room. The
// caller holds the hub's lock.
func (st *WatchStream) push(w *watcher) bool {
	var n int64
	for _, e := range w.pending {
		n += e.bytes()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	l := st.hub.limit
	if len(st.queue) > 0 && (len(st.queue) >= l.streamItems || st.bytes+n > l.streamBytes || st.hub.backlog.Load()+n > l.totalBytes) {
		return false
	}
	rev := w.pending[len(w.pending)-1].v.revision
	w.next = rev + 1
	st.enqueue(item{w: w, events: w.pending, bytes: n, batch: WatchBatch{WatchID: w.id, Revision: rev}})
	return true
}

// lag moves a watcher that was just taken out of the index to the lagging
// list; the caller holds the hub's lock.
func (st *WatchStream) lag(w *watcher, next int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	w.next, w.cursor = next, 0
	st.lagging = append(st.lagging, w)
	st.hub.lagging.Add(1)
	signal(st.wake)
}
