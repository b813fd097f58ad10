// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"cmp"
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Renew gives the lease its full time again and returns it, in seconds. A lease
// that has run out waits for its revocation, or for ctx. Errors: ErrNotFound,
// ErrNotPrimary, ctx's, and those of the proposal that clears a checkpoint.
func (le *Lessor) Renew(ctx context.Context, id int64) (ttl int64, err error) {
	l, t, err := le.find(id)
	if err != nil {
		return 0, err
	}
	le.mu.Lock()
	expired := !le.opts.Clock.Now().Before(l.deadline)
	recorded := l.Remaining > 0
	le.mu.Unlock()

	if expired {
		select {
		case <-l.revoked:
			return 0, ErrNotFound
		case <-t.ctx.Done():
			return 0, ErrNotPrimary
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if recorded {
		// Without this the next leader would count from the old checkpoint. Only
		// a lease that has one needs an entry, at most once a checkpoint interval.
		clear := []*pb.LeaseCheckpoint{{ID: id}}
		if err := t.proposer.CheckpointLeases(ctx, clear); err != nil {
			return 0, err
		}
	}
	return le.extend(id, t)
}

// find returns the lease and the running term.
func (le *Lessor) find(id int64) (*lease, *term, error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term == nil {
		return nil, nil, ErrNotPrimary
	}
	l := le.leases[id]
	if l == nil {
		return nil, nil, ErrNotFound
	}
	return l, le.term, nil
}

// extend gives the lease a new deadline if it is still there and t still runs.
func (le *Lessor) extend(id int64, t *term) (ttl int64, err error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term != t {
		return 0, ErrNotPrimary
	}
	l := le.leases[id]
	if l == nil {
		return 0, ErrNotFound
	}
	le.refresh(l, le.opts.Clock.Now(), 0)
	le.opts.Metrics.Renewed.Inc()
	return l.TTL, nil
}

// Lookup describes a lease. Errors: ErrNotFound, ErrNotPrimary.
func (le *Lessor) Lookup(id int64) (Info, error) {
	l, _, err := le.find(id)
	if err != nil {
		return Info{}, err
	}
	le.mu.Lock()
	defer le.mu.Unlock()
	return Info{TTL: l.TTL, Left: l.deadline.Sub(le.opts.Clock.Now())}, nil
}

// Primary says whether deadlines are running here.
func (le *Lessor) Primary() bool {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.term != nil
}

// IDs returns all leases: by deadline on the primary, by id elsewhere.
func (le *Lessor) IDs() []int64 {
	le.mu.Lock()
	defer le.mu.Unlock()
	order := make([]*lease, 0, len(le.leases))
	for _, l := range le.leases {
		order = append(order, l)
	}
	primary := le.term != nil
	slices.SortFunc(order, func(a, b *lease) int {
		if primary {
			return cmp.Or(a.deadline.Compare(b.deadline), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Compare(a.ID, b.ID)
	})
	ids := make([]int64, len(order))
	for i, l := range order {
		ids[i] = l.ID
	}
	return ids
}
