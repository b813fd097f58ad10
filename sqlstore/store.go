// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// position is a place in the log.
type position struct{ index, term uint64 }

// Store is the state of one node. See the package's comment.
type Store struct {
	opts  Options
	log   *zap.Logger
	db    *sqldb.DB
	cache *valueCache
	hub   *hub
	pins  *pins

	// ctx ends with Close; it is the context of reads that apply makes.
	ctx    context.Context
	cancel context.CancelFunc

	view      atomic.Pointer[view]
	stats     readStats
	writing   writing
	leases    *leaseSet
	cluster   clusterState
	compactor compactor

	compactHashes compactHashes

	// mu is held by whoever changes the state: apply, and compaction for a
	// slice at a time. It guards what follows.
	mu         sync.Mutex
	tree       *index.Tree[*entry]
	rev        int64
	compactRev int64
	seq        int64 // of the newest row
	applied    position
	request    pb.InternalRaftRequest // being applied; kept for its space
	batch      *sqldb.Batch
	fresh      []*version // written by the batch
	groups     []revisionEvents
	leaseNews  []LeaseEvent
}

type readStats struct{ hits, misses, compacted atomic.Int64 }

// Open opens or creates the store and rebuilds its index from SQLite. The
// caller replays the log from Applied on.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		opts:       opts,
		log:        opts.Logger,
		cache:      newValueCache(opts.CacheBytes),
		pins:       &pins{limit: opts.PinnedViews},
		leases:     newLeaseSet(),
		batch:      &sqldb.Batch{},
		rev:        1, // as etcd's empty store
		compactRev: -1,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	dbOpts := opts.DB
	dbOpts.OnCommit = s.committed
	db, err := sqldb.Open(ctx, dbOpts)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.db = db
	if err := s.recover(ctx); err != nil {
		s.cancel()
		_ = db.Close(ctx) // the error of recovery is the one that matters
		return nil, err
	}
	s.compactor.start(s)
	return s, nil
}

// recover rebuilds what memory holds from the database.
func (s *Store) recover(ctx context.Context) error {
	state, err := s.db.LoadState(ctx)
	if err != nil {
		return err
	}
	s.applied = position{state.AppliedIndex, state.AppliedTerm}
	s.seq = max(state.NextSeq-1, 0)
	s.leases.recover(state.Leases)
	if err := s.cluster.recover(state); err != nil {
		return err
	}
	if err := s.recoverIndex(ctx); err != nil {
		return err
	}
	s.rev = max(s.rev, state.Revision)
	if c, ok := state.Settings[sqldb.SettingCompactScheduled]; ok {
		s.compactRev = c.Int
		s.rev = max(s.rev, c.Int)
		if f, done := state.Settings[sqldb.SettingCompactFinished]; !done || f.Int < c.Int {
			s.compactor.request(c.Int) // it was cut short
		}
	}
	s.writing.lastSeq.Store(s.seq)
	s.hub = newHub(s, s.rev, s.opts)
	s.publish()
	return nil
}

// recoverIndex reads all rows but their values.
func (s *Store) recoverIndex(ctx context.Context) error {
	entries := make(map[string]*entry)
	err := s.db.Load(ctx, func(rows []sqldb.RowMeta) error {
		for i := range rows {
			if err := s.recoverRow(entries, &rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b := &index.Builder[*entry]{}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		e := entries[k]
		b.Append(e.key, e.liveness(), e)
		if v := e.live(); v != nil {
			s.leases.attach(v.lease, e.key)
		}
	}
	s.tree = b.Tree()
	return nil
}

// recoverRow adds one row to the entries being built; rows come in order.
func (s *Store) recoverRow(entries map[string]*entry, r *sqldb.RowMeta) error {
	v := &version{
		revision: r.Revision, seq: r.Seq, sub: int32(r.Sub),
		create: r.CreateRevision, number: r.Version, lease: r.Lease,
	}
	e := entries[r.Key]
	if e == nil {
		e = &entry{key: r.Key}
		entries[r.Key] = e
	}
	var old int64
	if len(e.versions) > 0 {
		p := e.last()
		if p.revision > r.Revision {
			return fmt.Errorf("sqlstore: row %d: revision %d of a key after revision %d", r.Seq, r.Revision, p.revision)
		}
		old = int64(p.size)
	}
	if !r.Tombstone {
		v.size = int32(sizeOf(v, r))
	}
	e.versions = append(e.versions, v)
	s.rev = max(s.rev, r.Revision)
	s.seq = max(s.seq, r.Seq)
	s.opts.Observe(Change{Kind: ChangeLoad, Key: e.key, OldSize: old, NewSize: int64(v.size), History: old + tombstoneBytes(e.key, v)})
	return nil
}

// sizeOf is the size of the encoded KeyValue of a row whose value was not read.
func sizeOf(v *version, r *sqldb.RowMeta) int {
	n := wire.SizeKeyValue(v.metadata(r.Key))
	if r.ValueSize > 0 {
		n += 1 + protowire.SizeBytes(int(r.ValueSize))
	}
	return n
}

// tombstoneBytes is what a version adds to the history by itself: live versions
// only become history when they are replaced.
func tombstoneBytes(key string, v *version) int64 {
	if v.tombstone() {
		return int64(len(key))
	}
	return 0
}

func (s *Store) observe(e event, replaced *version) {
	c := Change{Kind: ChangePut, Key: e.key, NewSize: int64(e.v.size), History: tombstoneBytes(e.key, e.v)}
	if e.v.tombstone() {
		c.Kind = ChangeDelete
		s.opts.Metrics.Deletes.Inc()
	} else {
		s.opts.Metrics.Puts.Inc()
		s.opts.Metrics.PutBytes.Add(float64(e.v.size))
	}
	if replaced != nil {
		c.OldSize = int64(replaced.size)
		c.History += c.OldSize
	}
	s.opts.Observe(c)
}

// Close stops compaction, writes what is left and closes the database clean.
func (s *Store) Close(ctx context.Context) error {
	s.cancel()
	s.compactor.wait()
	return s.db.Close(ctx)
}

// Persist makes everything applied so far survive a loss of power and returns
// the index up to which it does.
func (s *Store) Persist(ctx context.Context) (uint64, error) { return s.db.Persist(ctx) }

// Applied returns the place in the log up to which the published state goes.
func (s *Store) Applied() (index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied.index, s.applied.term
}

// Created reports whether Open made a new database.
func (s *Store) Created() bool { return s.db.Created() }

// Revision returns the newest readable revision.
func (s *Store) Revision() int64 { return s.view.Load().rev }

// CompactRevision returns the revision below which nothing can be read, -1
// before the first compaction.
func (s *Store) CompactRevision() int64 { return s.view.Load().compactRev }

// Defragment asks for the space of deleted rows to be given back to the file
// system, in the background and in slices: nobody waits for it.
func (s *Store) Defragment() { s.db.Vacuum() }

// writing follows versions on their way into SQLite: until their row is
// committed their value must stay in memory, after that it is the cache's.
type writing struct {
	lastSeq atomic.Int64 // committed

	mu      sync.Mutex
	pending []*version // in order of seq
}

func (w *writing) add(vs []*version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, vs...)
}

func (w *writing) committed() int64 { return w.lastSeq.Load() }

// take returns the versions up to seq lastSeq, which are committed.
func (w *writing) take(lastSeq int64) []*version {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.pending) && w.pending[n].seq <= lastSeq {
		n++
	}
	done := w.pending[:n:n]
	if w.pending = w.pending[n:]; len(w.pending) == 0 {
		w.pending = nil
	}
	return done
}

// committed is told by the writer how far SQLite is.
func (s *Store) committed(lastSeq int64, took time.Duration) {
	s.opts.Metrics.CommitDuration.Observe(took.Seconds())
	s.writing.lastSeq.Store(lastSeq)
	s.cache.add(s.writing.take(lastSeq)...)
}
