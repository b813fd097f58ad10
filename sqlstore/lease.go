// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"maps"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/sqldb"
)

// Lease is a granted lease. TTL and Remaining are seconds; Remaining is the
// last checkpoint, 0 if there is none. When it ends is not the store's matter:
// it ends when the log says so.
type Lease struct{ ID, TTL, Remaining int64 }

// LeaseEventKind says what happened to a lease.
type LeaseEventKind uint8

// The kinds of LeaseEvent.
const (
	LeaseGranted LeaseEventKind = iota
	LeaseRevoked
	LeaseCheckpointed
	LeaseReset // all that was told before is void; a LeaseGranted follows for each lease there is
)

// LeaseEvent tells whoever keeps the clock of leases what apply did to one.
type LeaseEvent struct {
	Kind  LeaseEventKind
	Lease Lease
}

// leaseSet holds the leases and their keys. Apply changes it, anybody reads it.
type leaseSet struct {
	mu     sync.RWMutex
	leases map[int64]*leaseState
}

type leaseState struct {
	Lease
	keys map[string]struct{}
}

func newLeaseSet() *leaseSet { return &leaseSet{leases: make(map[int64]*leaseState)} }

func newLeaseState(l Lease) *leaseState {
	return &leaseState{Lease: l, keys: make(map[string]struct{})}
}

// replace puts others in the place of all leases.
func (l *leaseSet) replace(leases map[int64]*leaseState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases = leases
}

func (l *leaseSet) put(lease Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.leases[lease.ID]; old != nil {
		old.Lease = lease
		return
	}
	l.leases[lease.ID] = newLeaseState(lease)
}

func (l *leaseSet) remove(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.leases, id)
}

func (l *leaseSet) has(id int64) bool {
	_, ok := l.get(id)
	return ok
}

func (l *leaseSet) get(id int64) (Lease, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s := l.leases[id]; s != nil {
		return s.Lease, true
	}
	return Lease{}, false
}

func (l *leaseSet) attach(id int64, key string) {
	if id == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.leases[id]; s != nil {
		s.keys[key] = struct{}{}
	}
}

func (l *leaseSet) detach(id int64, key string) {
	if id == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.leases[id]; s != nil {
		delete(s.keys, key)
	}
}

// sortedKeys returns the keys of a lease in order, the order in which every
// member deletes them.
func (l *leaseSet) sortedKeys(id int64) []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.leases[id]
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.keys))
}

func (l *leaseSet) eachKey(id int64, f func(key string) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.leases[id]
	if s == nil {
		return nil
	}
	for key := range s.keys {
		if err := f(key); err != nil {
			return err
		}
	}
	return nil
}

// Leases returns all leases in the order of their ids.
func (s *Store) Leases() []Lease {
	s.leases.mu.RLock()
	defer s.leases.mu.RUnlock()
	out := make([]Lease, 0, len(s.leases.leases))
	for _, id := range slices.Sorted(maps.Keys(s.leases.leases)) {
		out = append(out, s.leases.leases[id].Lease)
	}
	return out
}

// Lease returns one lease.
func (s *Store) Lease(id int64) (Lease, bool) { return s.leases.get(id) }

// EachLeaseKey calls f for the keys attached to a lease, in no order, until it returns
// an error, and returns that. f must not wait for apply.
func (s *Store) EachLeaseKey(id int64, f func(key string) error) error {
	return s.leases.eachKey(id, f)
}

// LeaseKeys returns the keys attached to a lease, in order.
func (s *Store) LeaseKeys(id int64) []string { return s.leases.sortedKeys(id) }

func (s *Store) applyLeaseGrant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	switch {
	case r.ID == 0:
		return nil, ErrLeaseNotFound
	case r.TTL > MaxLeaseTTL:
		return nil, ErrLeaseTTLTooLarge
	case s.leases.has(r.ID):
		return nil, ErrLeaseExists
	}
	l := Lease{ID: r.ID, TTL: max(r.TTL, s.opts.MinLeaseTTL)}
	s.putLease(l, LeaseGranted)
	return &pb.LeaseGrantResponse{ID: l.ID, TTL: l.TTL}, nil
}

func (s *Store) putLease(l Lease, kind LeaseEventKind) {
	s.leases.put(l)
	s.batch.Leases = append(s.batch.Leases, sqldb.LeaseChange{Op: sqldb.Put, Lease: sqldb.Lease(l)})
	s.leaseNews = append(s.leaseNews, LeaseEvent{Kind: kind, Lease: l})
}

// applyLeaseRevoke deletes a lease and, in one revision, its keys.
func (s *Store) applyLeaseRevoke(id int64) (*pb.LeaseRevokeResponse, error) {
	l, ok := s.leases.get(id)
	if !ok {
		return nil, ErrLeaseNotFound
	}
	t := s.begin()
	for _, key := range s.leases.sortedKeys(id) {
		if e, ok := s.tree.Get(key); ok && e.live() != nil {
			t.delete(e)
		}
	}
	t.end()
	s.leases.remove(id)
	s.batch.Leases = append(s.batch.Leases, sqldb.LeaseChange{Op: sqldb.Delete, Lease: sqldb.Lease{ID: id}})
	s.leaseNews = append(s.leaseNews, LeaseEvent{Kind: LeaseRevoked, Lease: l})
	return &pb.LeaseRevokeResponse{}, nil
}

// applyLeaseCheckpoint notes remaining times, so that a new leader does not
// start long leases anew. Leases that are gone meanwhile are passed over.
func (s *Store) applyLeaseCheckpoint(r *pb.LeaseCheckpointRequest) *pb.LeaseCheckpointResponse {
	for _, c := range r.Checkpoints {
		if l, ok := s.leases.get(c.ID); ok {
			l.Remaining = c.Remaining_TTL
			s.putLease(l, LeaseCheckpointed)
		}
	}
	return &pb.LeaseCheckpointResponse{}
}
