// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// loaded is what memory holds of a database, rebuilt from it: at the start, and
// when Restore has replaced it.
type loaded struct {
	tree       *index.Tree[*entry]
	rev        int64
	compactRev int64
	seq        int64
	applied    position
	leases     map[int64]*leaseState
	state      sqldb.State
	entries    map[string]*entry // while rows are read
	unfinished bool              // the compaction at compactRev was cut short
}

// loadDB rebuilds what memory holds. It changes nothing of the store, but tells
// Options.Observe what it finds.
func (s *Store) loadDB(ctx context.Context, db *sqldb.DB) (*loaded, error) {
	l := &loaded{
		rev:        1, // as etcd's empty store
		compactRev: -1,
		leases:     make(map[int64]*leaseState),
		entries:    make(map[string]*entry),
	}
	var err error
	if l.state, err = db.LoadState(ctx); err != nil {
		return nil, err
	}
	l.applied = position{l.state.AppliedIndex, l.state.AppliedTerm}
	l.seq = max(l.state.NextSeq-1, 0)
	for _, r := range l.state.Leases {
		l.leases[r.ID] = newLeaseState(Lease(r))
	}
	err = db.Load(ctx, func(rows []sqldb.RowMeta) error {
		for i := range rows {
			if err := s.loadRow(l, &rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.buildIndex()
	l.rev = max(l.rev, l.state.Revision)
	if c, ok := l.state.Settings[sqldb.SettingCompactScheduled]; ok {
		l.compactRev = c.Int
		l.rev = max(l.rev, c.Int)
		f, done := l.state.Settings[sqldb.SettingCompactFinished]
		l.unfinished = !done || f.Int < c.Int
	}
	return l, nil
}

// buildIndex makes the tree of the entries, and gives leases their keys.
func (l *loaded) buildIndex() {
	b := &index.Builder[*entry]{}
	for _, k := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[k]
		b.Append(e.key, e.liveness(), e)
		if v := e.live(); v != nil && l.leases[v.lease] != nil {
			l.leases[v.lease].keys[e.key] = struct{}{}
		}
	}
	l.tree, l.entries = b.Tree(), nil
}

// loadRow adds one row to the entries being built; rows come in order.
func (s *Store) loadRow(l *loaded, r *sqldb.RowMeta) error {
	v := &version{
		revision: r.Revision, seq: r.Seq, sub: int32(r.Sub),
		create: r.CreateRevision, number: r.Version, lease: r.Lease,
	}
	e := l.entries[r.Key]
	if e == nil {
		e = &entry{key: r.Key}
		l.entries[r.Key] = e
	}
	var old int64
	if len(e.versions) > 0 {
		p := e.last()
		if err := ascends(p.revision, r); err != nil {
			return err
		}
		old = int64(p.size)
	}
	if !r.Tombstone {
		v.size = int32(sizeOf(v, r))
	}
	e.versions = append(e.versions, v)
	l.rev = max(l.rev, r.Revision)
	l.seq = max(l.seq, r.Seq)
	s.opts.Observe(Change{Kind: ChangeLoad, Key: e.key, OldSize: old, NewSize: int64(v.size), History: old + tombstoneBytes(e.key, v)})
	return nil
}

// ascends refuses a row that comes after a newer one of its key, of revision before.
func ascends(before int64, r *sqldb.RowMeta) error {
	if before > r.Revision {
		return fmt.Errorf("sqlstore: row %d: revision %d of a key after revision %d", r.Seq, r.Revision, before)
	}
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

// install makes a loaded state the store's own, which readers see from then on. The
// caller holds mu, unless nobody else knows the store yet.
func (s *Store) install(l *loaded) error {
	if err := s.cluster.recover(l.state); err != nil {
		return err
	}
	if err := s.auth.recover(l.state); err != nil {
		return err
	}
	s.leases.replace(l.leases)
	s.tree, s.rev, s.compactRev, s.seq, s.applied = l.tree, l.rev, l.compactRev, l.seq, l.applied
	s.batch, s.fresh, s.groups, s.leaseNews = &sqldb.Batch{}, nil, nil, nil
	s.writing.reset(l.seq)
	return nil
}

// Restore puts the file of a Snapshot, which must be verified, in the place of the
// database and rebuilds memory from it. It is called like Apply and never beside it.
//
// Readers go on with the old view until the new one is complete; those that need
// rows wait for it meanwhile. Watchers go on: what they have not been told they read
// from the new rows, and those that are behind its compacted revision are cancelled
// with that. Open snapshots end.
//
// The database that is replaced need not be writable: what waits to be written to it is dropped.
//
// Nothing has happened if file is older than the store, foreign or cut off. After any
// other error the store can't go on, and FinishRestore must be called before the next
// Open; so must it after a crash.
func (s *Store) Restore(ctx context.Context, file string) error {
	state, err := sqldb.Inspect(ctx, file)
	if err != nil {
		return err
	}
	if applied, _ := s.Applied(); state.AppliedIndex < applied {
		return fmt.Errorf("sqlstore: %s: the snapshot is of entry %d, and %d is applied", file, state.AppliedIndex, applied)
	}
	if err := understood(state); err != nil {
		return err
	}
	taken := takenOver(s.opts.DB.Path)
	if err := os.Rename(file, taken); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	s.compactor.cancel()
	end, err := s.db.abandon()
	defer end()
	if err != nil {
		s.log.Warn("closing the database that a snapshot replaces", zap.Error(err))
	}
	s.compactor.stop()
	if err := s.replaceDatabase(ctx, taken); err != nil {
		return err
	}
	s.tellLeases()
	s.compactor.start(s)
	return nil
}

// replaceDatabase is the part of Restore while which nobody reads rows.
func (s *Store) replaceDatabase(ctx context.Context, file string) error {
	s.db.gate.Lock()
	defer s.db.gate.Unlock()
	s.pins.clear(s.view.Load().restores + 1)
	s.cache.clear() // two stores' values would be too much
	if err := sqldb.Replace(s.opts.DB.Path, file); err != nil {
		return err
	}
	db, err := s.openDB(ctx)
	if err != nil {
		return err
	}
	if err := s.show(ctx, db); err != nil {
		return errors.Join(err, db.Abandon())
	}
	return nil
}

// show loads a database that Restore has put in place, and has readers see it.
func (s *Store) show(ctx context.Context, db *sqldb.DB) error {
	s.opts.Observe(Change{Kind: ChangeReset})
	l, err := s.loadDB(ctx, db)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspendAuthority()
	if err := s.install(l); err != nil {
		return err
	}
	s.db.set(s.ctx, db)
	s.compactHashes.clear()
	s.restores++
	s.hub.restored(s.rev, s.publish)
	s.recoverAuthority()
	s.compactor.resume(l)
	return nil
}

// tellLeases tells Options.OnLease that all it knew is void, and what there is.
func (s *Store) tellLeases() {
	news := []LeaseEvent{{Kind: LeaseReset}}
	for _, l := range s.Leases() {
		news = append(news, LeaseEvent{Kind: LeaseGranted, Lease: l})
	}
	s.opts.OnLease(news)
}
