// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
)

// position is a place in the log.
type position struct{ index, term uint64 }

// Store is the state of one node. See the package's comment.
type Store struct {
	opts  Options
	log   *zap.Logger
	db    database
	cache *valueCache
	hub   *hub
	pins  *pins

	// ctx ends with Close; it is the context of reads that apply makes.
	ctx    context.Context
	cancel context.CancelFunc

	view          atomic.Pointer[view]
	stats         readStats
	writing       writing
	defragmenting atomic.Bool
	leases        *leaseSet
	cluster       clusterState
	auth          *AuthTables
	compactor     compactor

	compactHashes compactHashes

	// mu is held by whoever changes the state: apply, and compaction for a
	// slice at a time. It guards what follows.
	mu         sync.Mutex
	tree       *index.Tree[*entry]
	rev        int64
	compactRev int64
	restores   int
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
		opts:      opts,
		log:       opts.Logger,
		cache:     newValueCache(opts.CacheBytes),
		pins:      &pins{limit: opts.PinnedViews},
		leases:    newLeaseSet(),
		compactor: newCompactor(),
	}
	s.auth = &AuthTables{store: s}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	db, err := s.openDB(ctx)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.db.set(s.ctx, db)
	if err := s.recover(ctx, db); err != nil {
		s.cancel()
		_ = db.Close(ctx) // the error of recovery is the one that matters
		return nil, err
	}
	s.compactor.start(s)
	return s, nil
}

// openDB opens the database with the store's own options.
func (s *Store) openDB(ctx context.Context) (*sqldb.DB, error) {
	o := s.opts.DB
	o.OnCommit = s.committed
	return sqldb.Open(ctx, o)
}

// recover rebuilds what memory holds from the database.
func (s *Store) recover(ctx context.Context, db *sqldb.DB) error {
	l, err := s.loadDB(ctx, db)
	if err != nil {
		return err
	}
	if err := s.install(l); err != nil {
		return err
	}
	s.hub = newHub(s, s.rev, s.opts)
	s.publish()
	s.recoverAuthority()
	s.compactor.resume(l)
	return nil
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

// Close stops compaction, writes what is left and closes the database clean. When ctx ends before all is written it is
// given up, as by a crash. An Apply that waits for the writer fails.
func (s *Store) Close(ctx context.Context) error {
	s.cancel()
	// The database first: compaction may wait for an Apply that waits for room in the writer's backlog.
	err := s.db.now().Close(ctx)
	s.compactor.stop()
	return err
}

// Persist makes everything applied so far survive a loss of power and returns
// the index up to which it does.
func (s *Store) Persist(ctx context.Context) (applied uint64, err error) {
	err = s.db.use(ctx, func(db *sqldb.DB) error {
		applied, err = db.Persist(ctx)
		return err
	})
	return applied, err
}

// Applied returns the place in the log up to which the published state goes.
func (s *Store) Applied() (index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied.index, s.applied.term
}

// Created reports whether Open made a new database.
func (s *Store) Created() bool { return s.db.now().Created() }

// Revision returns the newest readable revision.
func (s *Store) Revision() int64 { return s.view.Load().rev }

// CompactRevision returns the revision below which nothing can be read, -1
// before the first compaction.
func (s *Store) CompactRevision() int64 { return s.view.Load().compactRev }

// Defragment asks for the space of deleted rows to be given back to the file
// system, in the background and in slices: nobody waits for it.
func (s *Store) Defragment() {
	if !s.defragmenting.CompareAndSwap(false, true) {
		return // the one under way gives back all
	}
	m, start := s.opts.Metrics, s.opts.DB.Clock.Now()
	m.DefragInflight.Set(1)
	done := s.db.now().Vacuum()
	go func() {
		<-done
		m.DefragDuration.Observe(s.opts.DB.Clock.Now().Sub(start).Seconds())
		m.DefragInflight.Set(0)
		s.defragmenting.Store(false)
	}()
}

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

// reset forgets what was on its way: the database holds rows up to lastSeq.
func (w *writing) reset(lastSeq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = nil
	w.lastSeq.Store(lastSeq)
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
