// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// Bounds of one page of history that a lagging watcher reads.
const (
	historyPageRows  = 1000
	historyPageBytes = 4 << 20
)

// Next returns the stream's next batch, waiting for one. Errors: ErrClosed,
// ctx's, or an error of the database.
func (st *WatchStream) Next(ctx context.Context) (WatchBatch, error) {
	for {
		it, w, err := st.pop()
		if err != nil {
			return WatchBatch{}, err
		}
		var b WatchBatch
		var ok bool
		switch {
		case w != nil:
			b, ok, err = st.advance(ctx, w)
		case it != nil:
			b, ok, err = st.finish(ctx, it)
		default:
			select {
			case <-st.wake:
				continue
			case <-ctx.Done():
				return WatchBatch{}, ctx.Err()
			}
		}
		if ok || err != nil {
			return b, err
		}
	}
}

// pop takes the head of the queue or, if it is empty, names a lagging watcher.
func (st *WatchStream) pop() (*item, *watcher, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil, nil, ErrClosed
	}
	if len(st.queue) == 0 {
		if len(st.lagging) == 0 {
			return nil, nil, nil
		}
		// Turn the list so that one long history does not hold up the others.
		w := st.lagging[0]
		copy(st.lagging, st.lagging[1:])
		st.lagging[len(st.lagging)-1] = w
		return nil, w, nil
	}
	it := st.queue[0]
	st.queue[0] = item{}
	if st.queue = st.queue[1:]; len(st.queue) == 0 {
		st.queue = nil
	}
	st.bytes -= it.bytes
	st.hub.backlog.Add(-it.bytes)
	st.hub.pending.Add(-int64(len(it.events)))
	signal(st.room)
	return &it, nil, nil
}

// finish encodes a queued item; not ok if its watcher is gone.
func (st *WatchStream) finish(ctx context.Context, it *item) (WatchBatch, bool, error) {
	if it.w != nil && it.w.canceled.Load() && it.batch.Kind != BatchCreated {
		return WatchBatch{}, false, nil
	}
	if len(it.events) == 0 {
		return it.batch, true, nil
	}
	return st.encode(ctx, it.w, it.events, it.batch)
}

func (st *WatchStream) encode(ctx context.Context, w *watcher, events []*sharedEvent, b WatchBatch) (WatchBatch, bool, error) {
	b.Events = make([][]byte, len(events))
	for i, e := range events {
		data, err := e.encode(ctx, st.hub.store, w.prevKV)
		if errors.Is(err, ErrCompacted) {
			b, ok := st.compacted(w)
			return b, ok, nil
		}
		if err != nil {
			return WatchBatch{}, false, err
		}
		b.Events[i] = data
	}
	return b, true, nil
}

// compacted ends a watcher whose history is gone.
func (st *WatchStream) compacted(w *watcher) (WatchBatch, bool) {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if w.canceled.Load() || st.closed {
		return WatchBatch{}, false
	}
	st.drop(w)
	return WatchBatch{
		Kind: BatchCompacted, WatchID: w.id, Revision: h.rev,
		CompactRevision: h.store.view.Load().compactRev,
	}, true
}

// advance reads one page of history for a lagging watcher.
func (st *WatchStream) advance(ctx context.Context, w *watcher) (WatchBatch, bool, error) {
	if w.canceled.Load() {
		return WatchBatch{}, false, nil
	}
	events, synced, err := st.hub.catchUp(ctx, w)
	if errors.Is(err, ErrCompacted) {
		b, ok := st.compacted(w)
		return b, ok, nil
	}
	if err != nil {
		return WatchBatch{}, false, err
	}
	if synced || len(events) == 0 {
		return WatchBatch{}, false, nil
	}
	// As in etcd, the revision that the watcher is on its way to, not the one it has reached.
	rev := max(events[len(events)-1].v.revision, st.hub.store.view.Load().rev)
	return st.encode(ctx, w, events, WatchBatch{WatchID: w.id, Revision: rev})
}

// join moves a lagging watcher into the index; the caller holds the hub's
// lock, so that no event falls between the two.
func (st *WatchStream) join(w *watcher) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.unlist(w) {
		st.hub.insert(w)
	}
}

// historyPage is a run of whole revisions.
type historyPage struct {
	events []*sharedEvent
	next   int64 // revision to read on from
	cursor int64 // row to read on from
}

// historyPage reads rows of revisions in [w.next, end) from SQLite and keeps
// those that w wants. A revision is never split over two pages.
func (s *Store) historyPage(ctx context.Context, w *watcher, end int64) (historyPage, error) {
	var page historyPage
	err := s.db.use(ctx, func(db *sqldb.DB) (err error) {
		page = historyPage{next: end}
		if now := s.view.Load().restores; w.restores != now {
			w.restores, w.cursor = now, 0
		}
		seq := w.cursor
		if seq == 0 {
			if seq, err = db.SeqOfRevision(ctx, w.next); err != nil {
				return err
			}
		}
		return s.fillPage(ctx, w, &page, rowsFrom{db, seq})
	})
	return page, err
}

// rowsFrom is where a page begins.
type rowsFrom struct {
	db  *sqldb.DB
	seq int64
}

// fillPage reads rows up to page.next, and sets that to less if the page is full before.
func (s *Store) fillPage(ctx context.Context, w *watcher, page *historyPage, from rowsFrom) error {
	end := page.next
	view := s.view.Load()
	rows, bytes := 0, 0
	errFull := errors.New("page is full")
	last := int64(0)
	err := from.db.Scan(ctx, from.seq, func(r sqldb.Row) error {
		if r.Revision >= end {
			return errFull
		}
		if r.Revision != last && (rows >= historyPageRows || bytes >= historyPageBytes) {
			page.next, page.cursor = r.Revision, r.Seq
			return errFull
		}
		last = r.Revision
		rows++
		bytes += len(r.Key) + len(r.Value)
		if e := eventOfRow(view, w, r); e != nil {
			page.events = append(page.events, e)
		}
		return nil
	})
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// eventOfRow makes the event of a row, nil if w does not want it.
func eventOfRow(view *view, w *watcher, r sqldb.Row) *sharedEvent {
	if r.Revision < w.next || !w.covers(stringOf(r.Key)) {
		return nil
	}
	v := &version{
		revision: r.Revision, seq: r.Seq, sub: int32(r.Sub),
		create: r.CreateRevision, number: r.Version, lease: r.Lease,
	}
	e := &sharedEvent{event: event{key: string(r.Key), v: v}}
	if !w.passes(&e.event) {
		return nil
	}
	if !v.tombstone() {
		kv := wire.KeyValue{
			Key: r.Key, Value: r.Value, CreateRevision: r.CreateRevision,
			ModRevision: r.Revision, Version: r.Version, Lease: r.Lease,
		}
		data := wire.AppendKeyValue(nil, kv)
		v.size = int32(len(data))
		v.setEncoded(data)
	}
	if w.prevKV && r.Revision-1 >= view.compactRev {
		if old, ok := view.tree.Get(e.key); ok {
			e.prev = old.at(r.Revision - 1)
		}
	}
	return e
}
