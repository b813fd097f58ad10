// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"cmp"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// waiter is where a proposer waits, with its proposal. It is sent exactly one outcome unless it was cancelled before.
type waiter struct {
	c     chan Outcome
	id    uint64
	entry *raftpb.Entry
	seq   uint64 // the order in which proposals came
	// term is the only one in which the proposal can enter the log, as far as it was given to raft; 0 while it waits
	// in the queue.
	term uint64
	only uint64 // the proposal's
	more bool   // the proposal's
}

var waiters = sync.Pool{New: func() any { return &waiter{c: make(chan Outcome, 1)} }}

// recycle gives back a waiter that nothing will be sent to any more.
func recycle(w *waiter) {
	*w = waiter{c: w.c}
	waiters.Put(w)
}

// proposal is one that has not entered the log. Its waiter is not looked at but under the lock of proposals, and if
// it is still that of the id: it may have been recycled.
type proposal struct {
	id    uint64
	entry *raftpb.Entry
	only  uint64 // the term in which it may enter the log, by this member; 0: in any, by any
	more  bool   // the one behind it is given to raft in the same message
	w     *waiter
}

// proposals are those on their way: in the queue until they are given to raft, with a waiter until applied.
type proposals struct {
	maxCount int
	maxBytes uint64

	mu      sync.Mutex
	queue   []proposal
	spare   []proposal // the backing of a queue taken earlier
	bytes   uint64     // payload of queue
	waiters map[uint64]*waiter
	seq     uint64
	closed  error
}

func newProposals(opts *Options) *proposals {
	return &proposals{
		maxCount: opts.MaxPendingProposals,
		maxBytes: opts.MaxPendingBytes,
		waiters:  make(map[uint64]*waiter),
	}
}

// add queues proposals, all or none, one right after the other. The outcome of each its waiter will be sent.
func (p *proposals) add(all ...proposal) error {
	var size uint64
	for _, q := range all {
		size += uint64(len(q.entry.Data))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed != nil:
		return p.closed
	case len(p.queue) >= p.maxCount || len(p.queue) > 0 && p.bytes+size > p.maxBytes:
		return ErrTooManyRequests
	case slices.ContainsFunc(all, func(q proposal) bool { return p.waiters[q.id] != nil }):
		return ErrDuplicateID
	}
	for _, q := range all {
		p.seq++
		w := q.w
		w.id, w.entry, w.only, w.more, w.seq = q.id, q.entry, q.only, q.more, p.seq
		p.queue = append(p.queue, q)
		p.waiters[q.id] = w
	}
	p.bytes += size
	return nil
}

// take removes up to maxCount and maxBytes from the front of the queue, but at least one if there is any and what goes
// together with it, to be given to raft in term. The result must be given back when it is done with.
func (p *proposals) take(maxCount int, maxBytes, term uint64) []proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int
	var bytes uint64
	for n < len(p.queue) {
		size := uint64(len(p.queue[n].entry.Data))
		if n > 0 && !p.queue[n-1].more && (n >= maxCount || bytes+size > maxBytes) {
			break
		}
		bytes += size
		p.queue[n].w.term = term
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

// putBack puts what was taken, and raft did not take, at the front of the queue again.
func (p *proposals) putBack(taken []proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var again []*waiter
	for _, q := range taken {
		if w := p.waiters[q.id]; w == q.w && w != nil {
			again = append(again, w)
		}
	}
	p.requeueLocked(again)
}

// requeueLocked puts proposals, in order, at the front of the queue, which may exceed its bounds by them: they were
// accepted once.
func (p *proposals) requeueLocked(again []*waiter) {
	queue := make([]proposal, 0, len(again)+len(p.queue))
	for _, w := range again {
		// A new entry: raft may still hold the old one, and has written in it.
		w.entry = &raftpb.Entry{Type: w.entry.Type, Data: w.entry.Data}
		w.term = 0
		queue = append(queue, proposal{w.id, w.entry, w.only, w.more, w})
		p.bytes += uint64(len(w.entry.Data))
	}
	p.queue = append(queue, p.queue...)
}

// expire queues again the proposals that can never be applied any more, and returns their number: those given to raft
// in a term before that of an entry that this member has applied. A proposal enters the log in the term in which it
// was given to raft, or never. Terms do not fall along the log. So if it had been committed, it would be applied here
// already, and have its result. Those that may enter the log in that term only get ErrNotLeader.
func (p *proposals) expire(applied uint64) int {
	p.mu.Lock()
	again := p.enteredLocked(applied - 1)
	var void []*waiter
	again = slices.DeleteFunc(again, func(w *waiter) bool {
		if w.only != 0 {
			delete(p.waiters, w.id)
			void = append(void, w)
		}
		return w.only != 0
	})
	if len(again) > 0 {
		p.requeueLocked(again)
	}
	p.mu.Unlock()
	for _, w := range void {
		w.c <- Outcome{Err: ErrNotLeader}
	}
	return len(again)
}

// enteredLocked returns the proposals that were given to raft in terms up to one, in order.
func (p *proposals) enteredLocked(term uint64) []*waiter {
	var found []*waiter
	for _, w := range p.waiters {
		if w.term != 0 && w.term <= term {
			found = append(found, w)
		}
	}
	slices.SortFunc(found, func(a, b *waiter) int { return cmp.Compare(a.seq, b.seq) })
	return found
}

// failEntered fails, with err, proposals that were given to raft in terms up to one: some of them may have been applied.
func (p *proposals) failEntered(term uint64, err error) {
	p.mu.Lock()
	found := p.enteredLocked(term)
	for _, w := range found {
		delete(p.waiters, w.id)
	}
	p.mu.Unlock()
	for _, w := range found {
		w.c <- Outcome{Err: err}
	}
}

// queued returns the number of proposals that were not given to raft.
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
