// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/model"
)

// Bounds of what is open at a time.
const (
	streamCount      = 3
	watchesPerStream = 5
)

// streams are the open watch streams: each is one of the model's and one of
// every server's.
type streams struct {
	open []*stream
}

type stream struct {
	model   *model.WatchStream
	records []*recorder // one a server
	watches map[int64]*openWatch
}

// openWatch is a watch, the revision from which it was asked for, the one at which it
// was opened, and whether it may still be reading the past: it started there and has
// shown nothing from that revision on.
type openWatch struct {
	*model.Watch
	asked    int64
	openedAt int64
	behind   bool
}

// ids returns the ids of the watches that live, in order.
func (s *stream) ids() []int64 {
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(s.watches)) {
		if s.watches[id].Compacted == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// synced says whether a server has to tell the progress of the stream: not
// while a watch waits for the future or was cancelled by a compaction.
func (s *stream) synced(rev int64) bool {
	for _, w := range s.watches {
		if w.Compacted != 0 || w.asked > rev {
			return false
		}
	}
	return len(s.watches) > 0
}

// watch opens a watch, or ends one when many are open.
func (g *generator) watch() operation {
	at := g.IntN(len(g.streams.open))
	s := g.streams.open[at]
	ids := s.ids()
	if len(s.watches)-len(ids) > 2*watchesPerStream {
		return watchReopen{at}
	}
	if len(ids) >= watchesPerStream || len(ids) > 0 && g.percent(20) {
		return watchCancel{at, oneOf(g, ids)}
	}
	if g.percent(3) {
		return watchCancel{at, 1000 + g.Int64N(10)}
	}
	key, end := g.keyRange()
	r := &pb.WatchCreateRequest{
		Key: key, RangeEnd: end,
		StartRevision:  g.revision(30),
		PrevKv:         g.percent(50),
		ProgressNotify: g.percent(30),
		Fragment:       g.percent(20),
	}
	if g.percent(10) {
		r.StartRevision = g.store.Revision() + 1 + g.Int64N(20)
	}
	for _, f := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if g.percent(10) {
			r.Filters = append(r.Filters, f)
		}
	}
	// An id of the client's own. The ids of cancelled watches are left alone:
	// whether they are free again is not the servers' to agree on.
	if id := 1 + g.Int64N(20); g.percent(20) && r.StartRevision >= g.store.CompactRevision() {
		if w := s.watches[id]; w == nil || w.Compacted == 0 {
			r.WatchId = id
		}
	}
	return watchCreate{at, r}
}

func (g *generator) progress() operation {
	for at, s := range g.streams.open {
		if s.synced(g.store.Revision()) {
			return watchProgress{at}
		}
	}
	return g.watch()
}
