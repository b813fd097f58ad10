// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"
)

// ReadIndex returns when a read of the local state machine is linearizable: when everything that was
// acknowledged anywhere before the call is applied here. On the only voter that is always so once it has
// applied an entry of its own term. Otherwise the leader is asked, once for all calls that wait; without
// a leader it waits until there is one. Errors: ctx's, ErrStopped.
func (l *Log) ReadIndex(ctx context.Context) error {
	if l.localReads.Load() {
		return nil
	}
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return l.readFailed(ErrStopped)
	}
	if l.localReads.Load() {
		// It became so after the first look, and told those who waited then.
		l.mu.Unlock()
		return nil
	}
	b := l.reads.joinLocked(l)
	l.advanceLocked()
	l.unlockAndWake()
	select {
	case <-b.done:
		if b.err != nil {
			return l.readFailed(b.err)
		}
		return nil
	case <-ctx.Done():
		return l.readFailed(ctx.Err())
	}
}

func (l *Log) readFailed(err error) error {
	if l.opts.Events.ReadIndexFailed != nil {
		l.opts.Events.ReadIndexFailed(err)
	}
	return err
}

// readRetryTime is how long a leader has to confirm a read before it is asked again.
const readRetryTime = 500 * time.Millisecond

// readBatch is a set of reads that wait for the same confirmation.
type readBatch struct {
	done chan struct{}
	err  error
	tell []chan<- error // buffered; sent err, too
}

func newReadBatch() *readBatch { return &readBatch{done: make(chan struct{})} }

func (b *readBatch) finish(err error) {
	if b != nil {
		b.err = err
		close(b.done)
		for _, c := range b.tell {
			c <- err
		}
	}
}

// readQueue batches linearizable reads: those of asked wait for the leader's answer, those of next came
// later and need a question of their own. Guarded by Log.mu.
type readQueue struct {
	asked, next *readBatch
	contexts    map[string]bool // of all questions for asked
	confirmed   bool            // asked has its index
	index       uint64
	ticks       int    // since the last question
	seq         uint64 // makes contexts unique; begins at random, for other runs
}

// joinLocked adds a read to the batch that is asked for next, which may be now.
func (q *readQueue) joinLocked(l *Log) *readBatch {
	if q.next == nil {
		q.next = newReadBatch()
	}
	b := q.next
	if q.asked == nil {
		q.startLocked(l)
	}
	return b
}

// startLocked makes next the batch that is asked for, if there is one.
func (q *readQueue) startLocked(l *Log) {
	q.asked, q.next = q.next, nil
	q.confirmed, q.contexts = false, make(map[string]bool)
	if q.asked != nil {
		q.askLocked(l)
	}
}

// askLocked asks the leader. Without one raft drops the question; it is asked again when there is one. The only
// voter is not asked: raft would answer with the commit index from disk, which lags behind what was
// acknowledged before a restart. It finishes its reads when it has applied an entry of its term.
func (q *readQueue) askLocked(l *Log) {
	q.ticks = 0
	if l.alone || l.leader.Load() == raft.None {
		return
	}
	q.seq++
	var rctx [16]byte
	binary.BigEndian.PutUint64(rctx[:8], l.identity.MemberID)
	binary.BigEndian.PutUint64(rctx[8:], q.seq)
	q.contexts[string(rctx[:])] = true
	l.rn.ReadIndex(rctx[:])
}

// confirmedLocked notes the leader's answer. An answer to a question of an earlier batch is too old.
func (q *readQueue) confirmedLocked(l *Log, rs raft.ReadState) {
	if q.asked == nil || q.confirmed || !q.contexts[string(rs.RequestCtx)] {
		return
	}
	q.confirmed, q.index = true, rs.Index
	q.appliedLocked(l)
}

// appliedLocked finishes the batch whose index is applied.
func (q *readQueue) appliedLocked(l *Log) {
	if q.asked != nil && q.confirmed && l.applied.Load() >= q.index {
		q.asked.finish(nil)
		q.startLocked(l)
	}
}

// leaderChangedLocked asks the new leader: the old one may have taken the question along.
func (q *readQueue) leaderChangedLocked(l *Log) {
	if q.asked != nil && !q.confirmed {
		q.askLocked(l)
	}
}

// tickLocked asks again when the answer is late.
func (q *readQueue) tickLocked(l *Log) {
	if q.asked == nil || q.confirmed {
		return
	}
	q.ticks++
	if time.Duration(q.ticks)*l.opts.TickInterval < readRetryTime {
		return
	}
	if l.opts.Events.ReadIndexSlow != nil {
		l.opts.Events.ReadIndexSlow()
	}
	q.askLocked(l)
}

// finishAllLocked finishes all reads.
func (q *readQueue) finishAllLocked(err error) {
	q.asked.finish(err)
	q.next.finish(err)
	q.asked, q.next = nil, nil
}

// updateLocalReadsLocked decides whether reads need to ask at all: the only voter is the only one who can
// acknowledge anything, and does so only after applying it. Before it has applied an entry of its term,
// entries that it acknowledged before a restart may not be applied yet.
func (l *Log) updateLocalReadsLocked() {
	local := l.alone && l.leads.Load() && l.appliedTerm.Load() == l.term.Load()
	if local == l.localReads.Load() {
		return
	}
	l.localReads.Store(local)
	if local {
		l.reads.finishAllLocked(nil)
	}
}
