// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Propose brings data into the log and returns the Value that the state machine gave for id once it is
// durable on a quorum and applied. id must be unique over all members and all time and be found in data
// by the state machine; data belongs to the log afterwards and must not be empty.
//
// Errors: ErrStopped, ErrTooManyRequests, ErrNoSpace, ErrDuplicateID: nothing was proposed. ErrProposalDropped and
// ctx's: unknown, it may still be applied. Without a leader it waits until there is one or ctx ends.
func (l *Log) Propose(ctx context.Context, id uint64, data []byte) (any, error) {
	entry, err := proposalEntry(id, data)
	if err != nil {
		return nil, l.proposalFailed(err)
	}
	return l.propose(ctx, id, entry)
}

func proposalEntry(id uint64, data []byte) (*raftpb.Entry, error) {
	if id == 0 || len(data) == 0 {
		return nil, fmt.Errorf("raftlog: a proposal needs an id and data, not %x and %d bytes", id, len(data))
	}
	return &raftpb.Entry{Data: data}, nil
}

// ProposeConfChange brings a change of membership into the log and returns when it is applied. cc.Id
// plays the part of Propose's id. Errors as Propose's; also ErrConfChangePending and whatever the state
// machine's CheckConfChange says.
func (l *Log) ProposeConfChange(ctx context.Context, cc *raftpb.ConfChange) error {
	entry, err := confChangeEntry(cc)
	if err != nil {
		return l.proposalFailed(err)
	}
	_, err = l.propose(ctx, cc.GetId(), entry)
	return err
}

func confChangeEntry(cc *raftpb.ConfChange) (*raftpb.Entry, error) {
	if cc.GetId() == 0 {
		return nil, errors.New("raftlog: a conf change needs an id")
	}
	data, err := proto.Marshal(cc)
	if err != nil {
		return nil, fmt.Errorf("raftlog: encode conf change: %w", err)
	}
	return &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Data: data}, nil
}

func (l *Log) propose(ctx context.Context, id uint64, entry *raftpb.Entry) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.proposalFailed(err)
	}
	w := waiters.Get().(*waiter)
	if err := l.enqueue(id, entry, w); err != nil {
		waiters.Put(w)
		return nil, l.proposalFailed(err)
	}
	// Whoever finds nobody writing carries its own proposal: a lone client pays for no hand-over.
	if l.writer.acquire() {
		l.carry()
	}
	var o Outcome
	select {
	case o = <-w.c:
	case <-ctx.Done():
		if l.props.cancel(id) {
			waiters.Put(w)
			return nil, l.proposalFailed(ctx.Err())
		}
		o = <-w.c // it is on its way
	}
	waiters.Put(w)
	if o.Err != nil {
		return nil, l.proposalFailed(o.Err)
	}
	return o.Value, nil
}

// enqueue queues a proposal, whose outcome w will be sent, unless the log has too much to do already.
func (l *Log) enqueue(id uint64, entry *raftpb.Entry, w *waiter) error {
	if l.committed.Load() > l.applied.Load()+l.opts.MaxApplyGap {
		return ErrTooManyRequests
	}
	if l.space.low() {
		return ErrNoSpace
	}
	return l.props.add(id, entry, w)
}

func (l *Log) proposalFailed(err error) error {
	if l.opts.Events.ProposalFailed != nil {
		l.opts.Events.ProposalFailed(err)
	}
	return err
}

// Outcome is what becomes of a proposal: the state machine's Value for it, or why there is none. See
// Log.Propose for the errors.
type Outcome struct {
	Value any
	Err   error
}

// waiter is where a proposer waits. It is sent exactly one outcome unless it was cancelled before.
type waiter struct{ c chan Outcome }

var waiters = sync.Pool{New: func() any { return &waiter{c: make(chan Outcome, 1)} }}

// proposal is one that has not entered the log.
type proposal struct {
	id    uint64
	entry *raftpb.Entry
}

// proposals are those on their way: in the queue until they enter the log, with a waiter until applied.
type proposals struct {
	maxCount int
	maxBytes uint64

	mu      sync.Mutex
	queue   []proposal
	spare   []proposal // the backing of a queue taken earlier
	bytes   uint64     // payload of queue
	waiters map[uint64]*waiter
	closed  error
}

func newProposals(opts *Options) *proposals {
	return &proposals{
		maxCount: opts.MaxPendingProposals,
		maxBytes: opts.MaxPendingBytes,
		waiters:  make(map[uint64]*waiter),
	}
}

// add queues a proposal, whose outcome w will be sent.
func (p *proposals) add(id uint64, entry *raftpb.Entry, w *waiter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed != nil:
		return p.closed
	case len(p.queue) >= p.maxCount || len(p.queue) > 0 && p.bytes+uint64(len(entry.Data)) > p.maxBytes:
		return ErrTooManyRequests
	case p.waiters[id] != nil:
		return ErrDuplicateID
	}
	p.queue = append(p.queue, proposal{id, entry})
	p.bytes += uint64(len(entry.Data))
	p.waiters[id] = w
	return nil
}

// take removes up to maxCount and maxBytes from the front of the queue, but at least one if there is any.
// The result must be given back when it is done with.
func (p *proposals) take(maxCount int, maxBytes uint64) []proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int
	var bytes uint64
	for n < len(p.queue) && n < maxCount {
		size := uint64(len(p.queue[n].entry.Data))
		if n > 0 && bytes+size > maxBytes {
			break
		}
		bytes += size
		n++
	}
	if n == 0 {
		return nil
	}
	p.bytes -= bytes
	taken := p.queue[:n:n]
	p.queue = append(p.spare, p.queue[n:]...)
	p.spare = nil
	return taken
}

// giveBack lets the queue use the space of what was taken.
func (p *proposals) giveBack(taken []proposal) {
	clear(taken)
	p.mu.Lock()
	p.spare = taken[:0]
	p.mu.Unlock()
}

// queued returns the number of proposals that have not entered the log.
func (p *proposals) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

// pending returns the number of proposals that somebody waits for.
func (p *proposals) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiters)
}

// cancel makes sure that nothing is sent to id's waiter. On false something is, or will be at once.
func (p *proposals) cancel(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters[id] == nil {
		return false
	}
	delete(p.waiters, id)
	if i := slices.IndexFunc(p.queue, func(q proposal) bool { return q.id == id }); i >= 0 {
		p.bytes -= uint64(len(p.queue[i].entry.Data))
		p.queue = slices.Delete(p.queue, i, i+1)
	}
	return true
}

// deliver hands results to their waiters.
func (p *proposals) deliver(results []Result) {
	var some [16]*waiter
	found := append(some[:0], make([]*waiter, len(results))...)
	p.mu.Lock()
	for i, r := range results {
		if w := p.waiters[r.ID]; w != nil {
			found[i] = w
			delete(p.waiters, r.ID)
		}
	}
	p.mu.Unlock()
	for i, w := range found {
		if w != nil {
			w.c <- Outcome{Value: results[i].Value}
		}
	}
}

// fail hands err to the waiter of id, if there is one.
func (p *proposals) fail(id uint64, err error) {
	p.mu.Lock()
	w := p.waiters[id]
	delete(p.waiters, id)
	p.mu.Unlock()
	if w != nil {
		w.c <- Outcome{Err: err}
	}
}

// close refuses new proposals with err.
func (p *proposals) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil {
		p.closed = err
	}
}

// abandon fails everything that waits with err and refuses new proposals.
func (p *proposals) abandon(err error) {
	p.close(err)
	p.mu.Lock()
	left := p.waiters
	p.waiters, p.queue, p.bytes = make(map[uint64]*waiter), nil, 0
	p.mu.Unlock()
	for _, w := range left {
		w.c <- Outcome{Err: err}
	}
}
