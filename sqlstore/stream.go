// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// firstChunkKeys is how many keys the first chunk of a stream holds; later
// ones follow the size of the keys seen.
const firstChunkKeys = 10

// RangeStream answers a RangeRequest in chunks of about chunkBytes, so that
// neither side holds the whole answer. All chunks show the revision of the
// first. Only the last one has a header, more and count. Sorting and revision
// filters are the caller's to refuse. Errors: as Range, or what send returns.
func (s *Store) RangeStream(ctx context.Context, r *pb.RangeRequest, chunkBytes int, send func(*wire.RangeResponse) error) error {
	s.opts.Metrics.Ranges.Inc()
	w := s.view.Load()
	rev, err := w.check(r.Revision)
	if err != nil {
		return err
	}
	src := w
	if p := s.pins.get(rev); p != nil && rev != w.rev {
		src = p
	}
	final := wire.RangeResponse{Header: wire.Header{Revision: w.rev}}
	if r.CountOnly {
		final.Count = src.count(r.Key, r.RangeEnd, rev)
		return send(&final)
	}
	key, left := r.Key, r.Limit
	chunk := int64(firstChunkKeys)
	for {
		n := chunk
		if r.Limit > 0 {
			n = min(n, left)
		}
		pairs := src.collect(key, r.RangeEnd, rev, n+1)
		more := int64(len(pairs)) > n
		if more {
			pairs = pairs[:n]
		}
		kvs, err := s.values(ctx, pairs, r)
		if now := s.view.Load(); errors.Is(err, errRowGone) && now.restores != src.restores && rev >= now.compactRev {
			src = now
			continue
		}
		if err != nil {
			return err
		}
		left -= int64(len(pairs))
		final.Count += int64(len(pairs))
		if more {
			key = append([]byte(pairs[len(pairs)-1].e.key), 0)
		}
		if !more || (r.Limit > 0 && left == 0) {
			final.KVs, final.More = kvs, more
			if more {
				final.Count += src.count(key, r.RangeEnd, rev)
			}
			return send(&final)
		}
		if err := send(&wire.RangeResponse{KVs: kvs}); err != nil {
			return err
		}
		chunk = nextChunk(chunk, kvs, chunkBytes)
	}
}

// nextChunk doubles or halves the keys of a chunk to stay near the wanted size.
func nextChunk(keys int64, kvs [][]byte, want int) int64 {
	size := 0
	for _, kv := range kvs {
		size += len(kv)
	}
	switch {
	case size < want/2:
		return keys * 2
	case size > want*2:
		return max(keys/2, 1)
	}
	return keys
}

// Stats is a snapshot for Status and metrics.
type Stats struct {
	DB                     sqldb.Stats
	Keys, Revision         int64
	CompactRevision        int64
	CacheBytes             int64
	CacheHits, CacheMisses int64
	CompactedRows          int64
	Leases                 int
	WatchStreams, Watchers int64
	LaggingWatchers        int64
	WatchBacklogBytes      int64
	Events, PendingEvents  int64
}

// Stats returns a snapshot; it is cheap enough for every scrape and Status.
func (s *Store) Stats() Stats {
	w := s.view.Load()
	s.leases.mu.RLock()
	leases := len(s.leases.leases)
	s.leases.mu.RUnlock()
	return Stats{
		DB: s.db.now().Stats(), Keys: int64(w.tree.Live()), Revision: w.rev, CompactRevision: w.compactRev,
		CacheBytes: s.cache.bytes(), CacheHits: s.stats.hits.Load(), CacheMisses: s.stats.misses.Load(),
		CompactedRows: s.stats.compacted.Load(), Leases: leases,
		WatchStreams: s.hub.streams.Load(), Watchers: s.hub.count.Load(), LaggingWatchers: s.hub.lagging.Load(),
		WatchBacklogBytes: s.hub.backlog.Load(), Events: s.hub.events.Load(), PendingEvents: s.hub.pending.Load(),
	}
}
