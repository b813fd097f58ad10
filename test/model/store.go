// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Limits of an etcd server that runs with its defaults.
const (
	MaxTxnOps       = 128
	MaxRequestBytes = 1.5 * 1024 * 1024
	MinLeaseTTL     = 2          // seconds
	MaxLeaseTTL     = 9000000000 // seconds
)

// entry is one write of one key. A tombstone's kv has its key and its
// modification revision only, as the event of a deletion has.
type entry struct {
	rev, sub  int64
	kv        *mvccpb.KeyValue
	tombstone bool
}

// Store is the whole state of one server.
type Store struct {
	rev        int64                       // of the last write
	compactRev int64                       // -1 before the first compaction
	history    []entry                     // in order of (rev, sub)
	live       map[string]*mvccpb.KeyValue // the state at rev; values are never changed in place
	leases     map[int64]*Lease            // by id
	hashes     []Hash                      // of past compactions, by revision
	watches    map[*Watch]struct{}         // open ones
}

// Lease is a granted lease.
type Lease struct {
	ID, TTL int64               // TTL in seconds, as granted
	keys    map[string]struct{} // attached
}

// NewStore returns the state of a new server.
func NewStore() *Store {
	return &Store{
		rev:        1,
		compactRev: -1,
		live:       map[string]*mvccpb.KeyValue{},
		leases:     map[int64]*Lease{},
		watches:    map[*Watch]struct{}{},
	}
}

// Restart forgets what a server does not keep over a restart.
func (s *Store) Restart() {
	s.hashes = nil
	clear(s.watches)
}

// Revision returns the current revision.
func (s *Store) Revision() int64 { return s.rev }

// CompactRevision returns the revision of the last compaction, -1 before it.
func (s *Store) CompactRevision() int64 { return s.compactRev }

// Keys returns the live keys in order.
func (s *Store) Keys() []string { return slices.Sorted(maps.Keys(s.live)) }

// Get returns a live key's value, nil when there is none.
func (s *Store) Get(key string) *mvccpb.KeyValue { return s.live[key] }

// header is all of a response header that a model can know.
func (s *Store) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: s.rev} }

// at returns the state as of a revision, which must not be below the
// compacted one.
func (s *Store) at(rev int64) map[string]*mvccpb.KeyValue {
	state := map[string]*mvccpb.KeyValue{}
	for _, e := range s.history {
		if e.rev > rev {
			break
		}
		if e.tombstone {
			delete(state, string(e.kv.Key))
		} else {
			state[string(e.kv.Key)] = e.kv
		}
	}
	return state
}

// pick returns the values of the keys in a range, in key order. End follows
// etcd: empty is the single key, one zero byte is every key from here.
func pick(state map[string]*mvccpb.KeyValue, key, end []byte) []*mvccpb.KeyValue {
	var kvs []*mvccpb.KeyValue
	for k, kv := range state {
		if inRange([]byte(k), key, end) {
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return kvs
}

func inRange(k, key, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(k, key)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(k, key) >= 0
	default:
		return bytes.Compare(k, key) >= 0 && bytes.Compare(k, end) < 0
	}
}

// writer is one write transaction: all that it writes has one revision.
type writer struct {
	s      *Store
	before map[string]*mvccpb.KeyValue // what the written keys held; nil: nothing
	first  int                         // index in history of its first entry
}

func (s *Store) begin() *writer {
	return &writer{s: s, before: map[string]*mvccpb.KeyValue{}, first: len(s.history)}
}

// rev is the revision that reads of the transaction see.
func (w *writer) rev() int64 {
	if w.changed() {
		return w.s.rev + 1
	}
	return w.s.rev
}

func (w *writer) changed() bool { return len(w.s.history) > w.first }

func (w *writer) add(kv *mvccpb.KeyValue, tombstone bool) {
	key := string(kv.Key)
	if _, ok := w.before[key]; !ok {
		w.before[key] = w.s.live[key]
	}
	sub := int64(len(w.s.history) - w.first)
	w.s.history = append(w.s.history, entry{kv.ModRevision, sub, kv, tombstone})
}

func (w *writer) put(key, value []byte, lease int64) {
	rev := w.s.rev + 1
	kv := &mvccpb.KeyValue{
		Key: bytes.Clone(key), Value: bytes.Clone(value), Lease: lease,
		CreateRevision: rev, ModRevision: rev, Version: 1,
	}
	if old := w.s.live[string(key)]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		w.s.detach(old)
	}
	w.add(kv, false)
	w.s.live[string(key)] = kv
	if l := w.s.leases[lease]; l != nil {
		l.keys[string(key)] = struct{}{}
	}
}

// deleteRange returns what it deleted.
func (w *writer) deleteRange(key, end []byte) []*mvccpb.KeyValue {
	old := pick(w.s.live, key, end)
	for _, kv := range old {
		w.add(&mvccpb.KeyValue{Key: kv.Key, ModRevision: w.s.rev + 1}, true)
		delete(w.s.live, string(kv.Key))
		w.s.detach(kv)
	}
	return old
}

// commit ends the transaction and shows it to the watches.
func (w *writer) commit() {
	if !w.changed() {
		return
	}
	w.s.rev++
	for _, e := range w.s.history[w.first:] {
		prev := w.before[string(e.kv.Key)]
		for watch := range w.s.watches {
			watch.add(e, prev)
		}
	}
}

// Compact forgets what no read at rev or later needs.
func (s *Store) Compact(r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if r.Revision <= s.compactRev {
		return nil, rpctypes.ErrGRPCCompacted
	}
	if r.Revision > s.rev {
		return nil, rpctypes.ErrGRPCFutureRev
	}
	keep := s.kept(r.Revision, keepTombstone)
	s.remember(s.hash(s.compactRev, r.Revision, keep))
	s.history = slices.DeleteFunc(s.history, func(e entry) bool {
		return e.rev <= r.Revision && !keep[e.id()]
	})
	s.compactRev = r.Revision
	return &pb.CompactionResponse{Header: s.header()}, nil
}
