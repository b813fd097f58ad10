// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// HashResult is a hash of the history. CompactRevision is the compacted
// revision it was made at, Current the store's revision then.
type HashResult struct {
	Hash            uint32
	CompactRevision int64
	HashRevision    int64
	Current         int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV returns the hash that an etcd member with the same log returns for
// revision rev (0: the current one): CRC-32C over the bucket's name and, in
// revision order, the bbolt key and the encoded KeyValue of every write up to
// rev. Of the writes at or below the compacted revision only those count that
// compaction at rev would keep, unless there are none at all, and a tombstone
// at the compacted revision never does. At a revision of which the store has a
// hash from compacting there (see CompactHashes) it is that one.
// Errors: ErrCompacted, ErrFutureRevision, ctx's, or an error of the database.
func (s *Store) HashKV(ctx context.Context, rev int64) (HashResult, error) {
	start := s.opts.DB.Clock.Now()
	defer func() { s.opts.Metrics.HashRevDuration.Observe(s.millisSince(start) / 1e3) }()
	if h, ok, err := s.compactHashes.at(ctx, rev); ok || err != nil {
		h.Current = s.Revision()
		return h, err
	}
	for {
		w := s.view.Load()
		if rev > 0 && rev < w.compactRev {
			return HashResult{}, ErrCompacted
		}
		if rev > w.rev {
			return HashResult{}, ErrFutureRevision
		}
		at := rev
		if at == 0 {
			at = w.rev
		}
		h := &kvHash{view: w, rev: at, nothingKept: !w.anyAt(at, liveOnly)}
		stale := false
		err := s.readAll(ctx, func(ctx context.Context, v *sqldb.View) error {
			// Rows go only after the compacted revision has moved: if it has
			// not, this snapshot holds all that the view knows.
			now := s.view.Load()
			if stale = now.compactRev != w.compactRev || now.restores != w.restores; stale {
				return nil
			}
			return h.scan(ctx, v)
		})
		if err != nil {
			return HashResult{}, err
		}
		if !stale {
			return HashResult{Hash: h.sum, CompactRevision: w.compactRev, HashRevision: at, Current: w.rev}, nil
		}
	}
}

// Which keys anyAt looks for.
type presence int

const (
	liveOnly      presence = iota // those that exist at the revision
	liveOrDeleted                 // also those deleted by the revision itself
)

// anyAt reports whether there is any such key.
func (w *view) anyAt(rev int64, p presence) (found bool) {
	w.tree.Ascend("", "", func(_ string, e *entry) bool {
		v := e.latest(rev)
		found = v != nil && (!v.tombstone() || p == liveOrDeleted && v.revision == rev)
		return !found
	})
	return found
}

// kvHash hashes rows as etcd hashes its key bucket.
type kvHash struct {
	view        *view
	rev         int64
	nothingKept bool // compaction at rev would keep nothing
	sum         uint32
	buf         []byte
}

// begin hashes what etcd hashes before the first row: the bucket's name.
func (h *kvHash) begin() { h.sum = crc32.Update(0, castagnoli, []byte("key")) }

// scan hashes all rows of a snapshot.
func (h *kvHash) scan(ctx context.Context, v *sqldb.View) error {
	h.begin()
	return v.Scan(ctx, func(r sqldb.Row) error {
		h.add(r)
		return nil
	})
}

func (h *kvHash) add(r sqldb.Row) {
	if r.Revision > h.rev || (r.Revision <= h.view.compactRev && !h.keeps(r)) {
		return
	}
	b := binary.BigEndian.AppendUint64(h.buf[:0], uint64(r.Revision))
	b = append(b, '_')
	b = binary.BigEndian.AppendUint64(b, uint64(r.Sub))
	kv := wire.KeyValue{Key: r.Key}
	if r.Tombstone {
		b = append(b, 't')
	} else {
		kv.Value, kv.CreateRevision, kv.ModRevision = r.Value, r.CreateRevision, r.Revision
		kv.Version, kv.Lease = r.Version, r.Lease
	}
	b = wire.AppendKeyValue(b, kv)
	h.buf = b
	h.sum = crc32.Update(h.sum, castagnoli, b)
}

// keeps decides about a row at or below the compacted revision.
func (h *kvHash) keeps(r sqldb.Row) bool {
	if r.Tombstone {
		return false
	}
	e, ok := h.view.tree.Get(stringOf(r.Key))
	if !ok {
		return false
	}
	at := h.rev
	if h.nothingKept {
		at = h.view.compactRev
	}
	v := e.at(at)
	return v != nil && v.seq == r.Seq
}

// Hash returns a hash of the whole history and its revision. It is for tests
// of one node against itself; members are compared by HashKV.
func (s *Store) Hash(ctx context.Context) (uint32, int64, error) {
	start := s.opts.DB.Clock.Now()
	defer func() { s.opts.Metrics.HashDuration.Observe(s.millisSince(start) / 1e3) }()
	w := s.view.Load()
	h := &kvHash{view: &view{tree: w.tree, rev: w.rev, compactRev: -1}, rev: 1<<63 - 1}
	err := s.readAll(ctx, func(ctx context.Context, v *sqldb.View) error { return h.scan(ctx, v) })
	return h.sum, w.rev, err
}
