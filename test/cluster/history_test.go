// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// change is what one write does to one key.
type change struct {
	key    string
	delete bool
	value  string
	lease  int64
}

// write is one request that changes keys, all in one revision. It changes nothing when it has no changes.
type write struct {
	what    string // for messages
	changes []change
}

// sorted is the write with its changes in the order of keys, which is not the order that a server reports them in.
func (w write) sorted() []change {
	return slices.SortedFunc(slices.Values(w.changes), func(a, b change) int { return cmp.Compare(a.key, b.key) })
}

// record is what the clients of one round know: the writes that were acknowledged, at which revision, and those
// that may have happened or not, because the server was killed before it answered.
type record struct {
	mu       sync.Mutex
	acked    map[int64]write
	unplaced []write // acknowledged without a revision of their own
	doubts   []write
	faults   []error

	count atomic.Int64 // acknowledged writes, for the decision when to kill
	// newest is the highest revision of any response's header. A request that starts after it was seen must not
	// be answered from before it (invariant 4).
	newest *atomic.Int64
}

func newRecord(newest *atomic.Int64) *record {
	return &record{acked: map[int64]write{}, newest: newest}
}

// fault notes that the server broke a promise.
func (r *record) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// ack notes an answered write. Each write has a revision of its own.
func (r *record) ack(revision int64, w write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count.Add(1)
	if len(w.changes) == 0 {
		return
	}
	if other, taken := r.acked[revision]; taken {
		r.faults = append(r.faults, fmt.Errorf("revision %d was given to two writes: %v and %v", revision, other, w))
		return
	}
	r.acked[revision] = w
}

// ackSomewhere notes an answered write whose answer does not tell its revision.
func (r *record) ackSomewhere(w write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count.Add(1)
	if len(w.changes) > 0 {
		r.unplaced = append(r.unplaced, w)
	}
}

// doubt notes a write whose answer was lost.
func (r *record) doubt(w write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubts = append(r.doubts, w)
}

// seen takes note of a response's revision; start is newest as it was before the request was sent.
func (r *record) seen(what string, start, revision int64) {
	if revision < start {
		r.fault("%s was answered at revision %d, after revision %d was seen", what, revision, start)
	}
	for {
		newest := r.newest.Load()
		if revision <= newest || r.newest.CompareAndSwap(newest, revision) {
			return
		}
	}
}

// state is the store as a list of events leaves it, with each key's KeyValue as the server would show it.
type state map[string]*mvccpb.KeyValue

// apply changes a state by a write at a revision, as etcd's rules say.
func (s state) apply(revision int64, changes []change) {
	for _, c := range changes {
		if c.delete {
			delete(s, c.key)
			continue
		}
		next := &mvccpb.KeyValue{
			Key: []byte(c.key), Value: []byte(c.value), Lease: c.lease,
			CreateRevision: revision, ModRevision: revision, Version: 1,
		}
		if previous, ok := s[c.key]; ok {
			next.CreateRevision, next.Version = previous.CreateRevision, previous.Version+1
		}
		s[c.key] = next
	}
}

func (s state) clone() state { return maps.Clone(s) }

// keys are the keys of a state, in order.
func (s state) keys() []string { return slices.Sorted(maps.Keys(s)) }

// revisionEvents is what watches tell about one revision.
type revisionEvents struct {
	revision int64
	changes  []change // in the order of keys
}

// explain compares the revisions of a round with the writes that its clients made. It returns a fault for each acknowledged write
// that is not there as it was acknowledged, and for each revision that nobody has asked for.
func (r *record) explain(log []revisionEvents) (faults []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	faults = append(faults, r.faults...)
	missing, unplaced, doubts := maps.Clone(r.acked), slices.Clone(r.unplaced), slices.Clone(r.doubts)
	for _, events := range log {
		if acked, ok := missing[events.revision]; ok {
			delete(missing, events.revision)
			if !slices.Equal(acked.sorted(), events.changes) {
				faults = append(faults, fmt.Errorf("revision %d was acknowledged as %v, and is %v", events.revision, acked, events.changes))
			}
			continue
		}
		if !removeWrite(&unplaced, events.changes) && !removeWrite(&doubts, events.changes) {
			faults = append(faults, fmt.Errorf("revision %d is %v, which nobody has asked for", events.revision, events.changes))
		}
	}
	for revision, w := range missing {
		faults = append(faults, fmt.Errorf("revision %d was acknowledged as %v, and is lost", revision, w))
	}
	for _, w := range unplaced {
		faults = append(faults, fmt.Errorf("%v was acknowledged, and is lost", w))
	}
	return faults
}

// forget takes a write that has happened out of those in doubt.
func (r *record) forget(changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	removeWrite(&r.doubts, changes)
}

// removeWrite takes the first write with these changes out of a list, if there is one.
func removeWrite(writes *[]write, changes []change) bool {
	i := slices.IndexFunc(*writes, func(w write) bool { return slices.Equal(w.sorted(), changes) })
	if i >= 0 {
		*writes = slices.Delete(*writes, i, i+1)
	}
	return i >= 0
}
