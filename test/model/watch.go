// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Watch is one open watcher and the events that it has to deliver.
type Watch struct {
	ID int64
	// Start is the first revision that it shows.
	Start int64
	// Compacted is the compacted revision that cancelled it at birth, or 0.
	Compacted int64
	// Events grow with every write of the store.
	Events []*mvccpb.Event

	key, end []byte
	prevKV   bool
	filters  []pb.WatchCreateRequest_FilterType
}

// WatchStream is one stream of Watch.Watch: it hands out the ids.
type WatchStream struct {
	s       *Store
	watches map[int64]*Watch
	nextID  int64
}

// NewWatchStream opens a stream.
func (s *Store) NewWatchStream() *WatchStream {
	return &WatchStream{s: s, watches: map[int64]*Watch{}}
}

// Create answers a create request. The watch is nil when the response refuses it.
func (ws *WatchStream) Create(r *pb.WatchCreateRequest) (*pb.WatchResponse, *Watch) {
	key, end := r.Key, r.RangeEnd
	if len(key) == 0 {
		key = []byte{0}
	}
	fromHere := len(end) == 1 && end[0] == 0
	switch {
	case r.StartRevision < 0:
		return ws.refuse(rpctypes.ErrCompacted.Error()), nil
	case len(end) != 0 && !fromHere && bytes.Compare(key, end) >= 0:
		return ws.refuse("mvcc: watcher range is empty"), nil
	case r.WatchId != 0 && ws.watches[r.WatchId] != nil:
		return ws.refuse("mvcc: duplicate watch ID provided on the WatchStream"), nil
	}
	w := &Watch{
		ID: r.WatchId, Start: r.StartRevision,
		key: key, end: end, prevKV: r.PrevKv, filters: r.Filters,
	}
	if w.ID == 0 {
		w.ID = ws.autoID()
	}
	ws.watches[w.ID] = w
	ws.s.open(w)
	return &pb.WatchResponse{Header: ws.s.header(), WatchId: w.ID, Created: true}, w
}

func (ws *WatchStream) refuse(reason string) *pb.WatchResponse {
	return &pb.WatchResponse{Header: ws.s.header(), WatchId: -1, Created: true, Canceled: true, CancelReason: reason}
}

func (ws *WatchStream) autoID() int64 {
	for ws.watches[ws.nextID] != nil {
		ws.nextID++
	}
	ws.nextID++
	return ws.nextID - 1
}

// Cancel answers a cancel request; nil: an unknown id, which is not answered.
func (ws *WatchStream) Cancel(id int64) *pb.WatchResponse {
	w := ws.watches[id]
	if w == nil {
		return nil
	}
	delete(ws.watches, id)
	delete(ws.s.watches, w)
	return &pb.WatchResponse{Header: ws.s.header(), WatchId: id, Canceled: true}
}

// Close ends all watches of the stream.
func (ws *WatchStream) Close() {
	for _, w := range ws.watches {
		delete(ws.s.watches, w)
	}
	clear(ws.watches)
}

// open shows the past to a new watch and adds it to the open ones.
func (s *Store) open(w *Watch) {
	if w.Start == 0 {
		w.Start = s.rev + 1
	}
	if w.Start < s.compactRev {
		w.Compacted = s.compactRev
		return
	}
	before := map[string]*mvccpb.KeyValue{} // the state before the revision at hand
	now := map[string]*mvccpb.KeyValue{}    // and what that revision changed so far
	rev := int64(0)
	for _, e := range s.history {
		if e.rev != rev {
			for k, kv := range now {
				before[k] = kv
			}
			clear(now)
			rev = e.rev
		}
		var prev *mvccpb.KeyValue
		if e.rev-1 >= s.compactRev {
			prev = before[string(e.kv.Key)]
		}
		w.add(e, prev)
		now[string(e.kv.Key)] = e.kv
		if e.tombstone {
			now[string(e.kv.Key)] = nil
		}
	}
	s.watches[w] = struct{}{}
}

// add takes a write as an event if the watch asked for it. prev is what the
// key held at the revision before.
func (w *Watch) add(e entry, prev *mvccpb.KeyValue) {
	if e.rev < w.Start || !inRange(e.kv.Key, w.key, w.end) {
		return
	}
	ev := &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: e.kv}
	filter := pb.WatchCreateRequest_NOPUT
	if e.tombstone {
		ev.Type, filter = mvccpb.Event_DELETE, pb.WatchCreateRequest_NODELETE
	}
	if slices.Contains(w.filters, filter) {
		return
	}
	created := !e.tombstone && e.kv.CreateRevision == e.kv.ModRevision
	if w.prevKV && !created {
		ev.PrevKv = prev
	}
	w.Events = append(w.Events, ev)
}
