// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Renew gives the lease its full time again and returns it, in seconds. A lease
// whose revocation may be in the log waits for that, or for ctx; one that has run
// out otherwise is as good as any. On an error the lease may last longer than
// the client is told, never shorter. Errors: ErrNotFound, ErrNotPrimary, ctx's,
// and those of the proposal that clears a checkpoint.
func (le *Lessor) Renew(ctx context.Context, id int64) (ttl int64, err error) {
	for {
		r, err := le.extend(id)
		if err != nil {
			return 0, err
		}
		if r.revoking != nil {
			select {
			case <-r.revoking:
				continue // it was not proposed after all
			case <-r.lease.revoked:
				return 0, ErrNotFound
			case <-r.term.ctx.Done():
				return 0, ErrNotPrimary
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if err := le.clearRecord(ctx, r); err != nil {
			return 0, err
		}
		if done, err := le.renewed(id, r); done || err != nil {
			return r.lease.TTL, err
		}
	}
}

// renewal is one lease's new deadline and what it found.
type renewal struct {
	lease *lease
	term  *term
	// revoking is lease.revoking; the deadline is the old one then.
	revoking chan struct{}
	// recorded: the log has a remaining time for the lease, or may have.
	recorded bool
	// recording is lease.recording. A remaining time that is recorded later counts
	// from the new deadline.
	recording chan struct{}
}

// extend gives the lease a new deadline, before anything that may take a while:
// it must not run out for the leader being slow.
func (le *Lessor) extend(id int64) (renewal, error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term == nil {
		return renewal{}, ErrNotPrimary
	}
	l := le.leases[id]
	if l == nil {
		return renewal{}, ErrNotFound
	}
	if l.revoking == nil {
		le.setDeadline(l, le.opts.Clock.Now().Add(seconds(l.TTL)))
	}
	return renewal{
		lease: l, term: le.term, revoking: l.revoking,
		recorded: l.Remaining > 0 || l.uncertain, recording: l.recording,
	}, nil
}

// renewed is done if the lease lives in the same term still, and its revocation
// was not proposed meanwhile.
func (le *Lessor) renewed(id int64, r renewal) (done bool, err error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	switch {
	case le.term != r.term:
		return false, ErrNotPrimary
	case le.leases[id] != r.lease:
		return false, ErrNotFound
	case r.lease.revoking != nil:
		return false, nil
	}
	le.opts.Metrics.Renewed.Inc()
	return true, nil
}

// Lookup describes a lease. Errors: ErrNotFound, ErrNotPrimary.
func (le *Lessor) Lookup(id int64) (Info, error) {
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.term == nil {
		return Info{}, ErrNotPrimary
	}
	l := le.leases[id]
	if l == nil {
		return Info{}, ErrNotFound
	}
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
	type entry struct {
		id       int64
		deadline time.Time // zero unless primary
	}
	le.mu.Lock()
	order := make([]entry, 0, len(le.leases))
	for _, l := range le.leases {
		e := entry{id: l.ID}
		if le.term != nil {
			e.deadline = l.deadline
		}
		order = append(order, e)
	}
	le.mu.Unlock()
	slices.SortFunc(order, func(a, b entry) int {
		return cmp.Or(a.deadline.Compare(b.deadline), cmp.Compare(a.id, b.id))
	})
	ids := make([]int64, len(order))
	for i, e := range order {
		ids[i] = e.id
	}
	return ids
}
