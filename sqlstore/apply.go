// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// Entry is a committed entry of the log: an encoded InternalRaftRequest, or
// empty, which only moves the applied index.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// Outcome is what applying an entry gave. ID is the request's id, 0 if it has
// none. Response is one of *wire.PutResponse, *wire.RangeResponse,
// *wire.DeleteRangeResponse, *wire.TxnResponse, *CompactionResult,
// *pb.LeaseGrantResponse, *pb.LeaseRevokeResponse, *pb.LeaseCheckpointResponse,
// *pb.AlarmResponse, an Authority's response or nil; Revision is the store's after
// the entry. Headers of wire responses carry only a revision, the others none.
type Outcome struct {
	ID       uint64
	Revision int64
	Response any
	Err      error
}

// CompactionResult is the response to a compaction. Done is closed when the
// rows are gone from SQLite.
type CompactionResult struct {
	Revision int64
	Done     <-chan struct{}
}

// Apply applies committed entries in order, publishes the new state, tells
// watchers and hands the rows to the SQLite writer, which may block while its
// backlog is full. Entries at or below the applied index are not applied again.
// The error is of the database and final: the store can't go on.
func (s *Store) Apply(entries []Entry) ([]Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Outcome, len(entries))
	for i, e := range entries {
		if e.Index <= s.applied.index {
			continue
		}
		if len(e.Data) > 0 {
			var err error
			if out[i], err = s.applyEntry(e); err != nil {
				return nil, err
			}
		}
		s.applied = position{e.Index, e.Term}
	}
	return out, s.finishBatch()
}

// applyEntry applies one entry to the private state. The error is Apply's.
func (s *Store) applyEntry(e Entry) (Outcome, error) {
	r := &s.request
	if err := wire.UnmarshalInternal(e.Data, r); err != nil {
		// Every member sees the same bytes and refuses them alike.
		return Outcome{Err: fmt.Errorf("sqlstore: entry %d: %w", e.Index, err)}, nil
	}
	o := Outcome{ID: r.ID}
	if o.ID == 0 && r.Header != nil {
		o.ID = r.Header.ID
	}
	if s.opts.Authority != nil && authRequest(r) {
		// Whoever is granted a key must not read it as it was before: the view may be
		// ahead of users and roles, never behind them.
		if err := s.finishBatch(); err != nil {
			return o, err
		}
		o.Response, o.Err = s.opts.Authority.Apply(e.Index, r)
	} else {
		o.Response, o.Err = s.dispatch(r)
	}
	o.Revision = s.rev
	return o, nil
}

// dispatch applies a request that is not about users and roles. While an alarm is
// raised it refuses what etcd refuses then.
func (s *Store) dispatch(r *pb.InternalRaftRequest) (any, error) {
	if handled := s.applyCluster(r); handled {
		return nil, nil
	}
	if r.Alarm != nil {
		return s.applyAlarm(r.Alarm), nil
	}
	if r.LeaseCheckpoint != nil {
		return s.applyLeaseCheckpoint(r.LeaseCheckpoint), nil // even then
	}
	if s.alarmed(pb.AlarmType_CORRUPT) {
		return nil, ErrCorrupt
	}
	if s.alarmed(pb.AlarmType_NOSPACE) && growsStore(r) {
		return nil, ErrNoSpace
	}
	if err := s.permit(r); err != nil {
		return nil, err
	}
	switch {
	case r.Put != nil:
		return result(s.applyPut(r.Put))
	case r.Txn != nil:
		return result(s.applyTxn(r.Txn))
	case r.DeleteRange != nil:
		return s.applyDeleteRange(r.DeleteRange), nil
	case r.Range != nil:
		return result(s.rangeOn(s.ctx, s.private(s.rev), r.Range, nil))
	case r.Compaction != nil:
		return result(s.applyCompaction(r.Compaction.Revision))
	case r.LeaseGrant != nil:
		return result(s.applyLeaseGrant(r.LeaseGrant))
	case r.LeaseRevoke != nil:
		return result(s.applyLeaseRevoke(r.LeaseRevoke.ID))
	}
	return nil, ErrUnsupported
}

// result keeps a nil pointer from becoming a response that is not nil.
func result[T any](response *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return response, nil
}

// growsStore tells the requests that etcd refuses under a NOSPACE alarm.
func growsStore(r *pb.InternalRaftRequest) bool {
	return r.Put != nil || r.LeaseGrant != nil || (r.Txn != nil && txnPuts(r.Txn))
}

// txnPuts reports whether either branch of a transaction holds a put.
func txnPuts(t *pb.TxnRequest) bool {
	for _, ops := range [2][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			if op.GetRequestPut() != nil {
				return true
			}
			if nested := op.GetRequestTxn(); nested != nil && txnPuts(nested) {
				return true
			}
		}
	}
	return false
}

// private is the state that apply itself reads, at revision rev.
func (s *Store) private(rev int64) *view {
	return &view{tree: s.tree, rev: rev, compactRev: s.compactRev, restores: s.restores}
}

// finishBatch ends a batch of entries: rows to the writer, state to readers,
// events to watchers, in this order, so that whoever learns of a revision can
// read it.
func (s *Store) finishBatch() error {
	b := s.batch
	b.AppliedIndex, b.AppliedTerm, b.Revision = s.applied.index, s.applied.term, s.rev
	s.batch = &sqldb.Batch{}
	s.writing.add(s.fresh)
	s.fresh = nil
	if err := s.db.now().Write(b); err != nil {
		return fmt.Errorf("sqlstore: writing up to entry %d: %w", b.AppliedIndex, err)
	}
	s.publish()
	if s.opts.Authority != nil {
		s.opts.Authority.Applied(b.AppliedIndex)
	}
	if len(s.groups) > 0 {
		s.hub.notify(s.groups, s.rev, s.writing.committed())
		s.groups = nil
	}
	if len(s.leaseNews) > 0 {
		s.opts.OnLease(s.leaseNews)
		s.leaseNews = nil
	}
	return nil
}

// publish makes the private state the one that readers see.
func (s *Store) publish() {
	s.view.Store(&view{tree: s.tree.Snapshot(), rev: s.rev, compactRev: s.compactRev, restores: s.restores})
}
