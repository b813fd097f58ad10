// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore/sqldb"
)

// compactor removes what a compaction made unreadable, in slices, beside
// apply. The compacted revision itself is the log's matter: it is set by apply
// and written with the entry. A crash leaves it above the finished one, and
// the next start does the whole walk again, which finds what is left.
type compactor struct {
	wake   chan struct{} // capacity 1
	cancel context.CancelFunc
	done   chan struct{} // the goroutine has returned

	mu      sync.Mutex
	target  int64        // revision to compact at; 0: nothing to do
	ordered []compaction // up to target, to be hashed; the newest maxCompactHashes
	waiting []compactionWaiter
}

type compactionWaiter struct {
	revision int64
	done     chan struct{}
}

// applyCompaction makes every revision below rev unreadable.
func (s *Store) applyCompaction(rev int64) (*CompactionResult, error) {
	switch {
	case rev <= s.compactRev:
		return nil, ErrCompacted
	case rev > s.rev:
		return nil, ErrFutureRevision
	}
	s.compactHashes.order(rev)
	s.compactor.order(compaction{after: s.compactRev, at: rev})
	s.compactRev = rev
	s.pins.dropBelow(rev)
	s.batch.Settings = append(s.batch.Settings, sqldb.Setting{Name: sqldb.SettingCompactScheduled, Int: rev})
	return &CompactionResult{Revision: s.rev, Done: s.compactor.request(rev)}, nil
}

// order has a compaction hashed before request has it done.
func (c *compactor) order(one compaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ordered = append(c.ordered, one)
	c.ordered = slices.Delete(c.ordered, 0, max(0, len(c.ordered)-maxCompactHashes))
}

// request asks for a compaction at rev; the channel is closed after it.
func (c *compactor) request(rev int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.target = max(c.target, rev)
	done := make(chan struct{})
	c.waiting = append(c.waiting, compactionWaiter{rev, done})
	signal(c.wake)
	return done
}

// resume does what a loaded state says is left of a compaction, and lets those go
// who wait for one that is done.
func (c *compactor) resume(l *loaded) {
	c.mu.Lock()
	c.target, c.ordered = 0, nil
	c.mu.Unlock()
	if l.unfinished {
		c.request(l.compactRev)
		return
	}
	c.finished(l.compactRev)
}

func newCompactor() compactor { return compactor{wake: make(chan struct{}, 1)} }

// start begins to do what is requested.
func (c *compactor) start(s *Store) {
	ctx, cancel := context.WithCancel(s.ctx)
	c.cancel, c.done = cancel, make(chan struct{})
	go c.run(ctx, s)
}

// stop returns when nothing is compacted any more. What is left may be resumed.
func (c *compactor) stop() {
	c.cancel()
	<-c.done
}

func (c *compactor) run(ctx context.Context, s *Store) {
	defer close(c.done)
	defer s.compactHashes.settle(math.MaxInt64)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		c.mu.Lock()
		rev, ordered := c.target, c.ordered
		c.target, c.ordered = 0, nil
		c.mu.Unlock()
		s.hashCompactions(ctx, ordered)
		if rev == 0 || ctx.Err() != nil {
			continue
		}
		if err := s.compact(ctx, rev); err != nil {
			if ctx.Err() == nil {
				s.log.Error("compaction stopped; it is resumed at the next start or compaction",
					zap.Int64("compact-revision", rev), zap.Error(err))
			}
			continue
		}
		c.finished(rev)
	}
}

func (c *compactor) finished(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.waiting[:0]
	for _, w := range c.waiting {
		if w.revision <= rev {
			close(w.done)
		} else {
			left = append(left, w)
		}
	}
	c.waiting = left
}

// compact walks the whole index once and deletes what rev leaves behind.
func (s *Store) compact(ctx context.Context, rev int64) error {
	start := s.opts.DB.Clock.Now()
	total := 0
	for cursor, more := "", true; more; {
		var seqs []int64
		var err error
		if seqs, cursor, more, err = s.compactSlice(ctx, cursor, rev); err != nil {
			return err
		}
		if len(seqs) == 0 {
			continue
		}
		if err := s.db.now().Delete(ctx, seqs); err != nil {
			return err
		}
		total += len(seqs)
	}
	err := s.db.now().Write(&sqldb.Batch{Settings: []sqldb.Setting{{Name: sqldb.SettingCompactFinished, Int: rev}}})
	if err != nil {
		return err
	}
	s.stats.compacted.Add(int64(total))
	s.opts.Metrics.CompactionTotal.Observe(s.millisSince(start))
	s.opts.Metrics.LastCompaction.Set(float64(s.opts.DB.Clock.Now().Unix()))
	s.log.Info("finished scheduled compaction", zap.Int64("compact-revision", rev),
		zap.Duration("took", s.opts.DB.Clock.Now().Sub(start)), zap.Int("number-of-keys-compacted", total))
	return nil
}

func (s *Store) millisSince(start time.Time) float64 {
	return float64(s.opts.DB.Clock.Now().Sub(start)) / float64(time.Millisecond)
}

// compactSlice compacts up to Options.CompactionBatch keys from cursor on and
// publishes the result. It returns the rows to delete and where to go on. Its error is ctx's.
func (s *Store) compactSlice(ctx context.Context, cursor string, rev int64) (seqs []int64, next string, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, "", false, err
	}
	start := s.opts.DB.Clock.Now()
	defer func() { s.opts.Metrics.CompactionPause.Observe(s.millisSince(start)) }()
	type change struct{ from, to *entry }
	var changes []change
	visited := 0
	s.tree.Ascend(cursor, "", func(key string, e *entry) bool {
		if visited == s.opts.CompactionBatch {
			next, more = key, true
			return false
		}
		visited++
		left, dropped := e.compacted(rev)
		if len(dropped) == 0 {
			return true
		}
		var bytes int64
		for _, v := range dropped {
			seqs = append(seqs, v.seq)
			bytes += int64(v.size) + tombstoneBytes(e.key, v)
		}
		size := int64(e.last().size)
		s.opts.Observe(Change{Kind: ChangeCompact, Key: e.key, OldSize: size, NewSize: size, History: -bytes})
		changes = append(changes, change{e, left})
		return true
	})
	for _, c := range changes {
		if c.to == nil {
			s.tree.Delete(c.from.key)
		} else {
			s.tree.Set(c.to.key, c.to.liveness(), c.to)
		}
	}
	if len(changes) > 0 {
		s.publish()
	}
	return seqs, next, more, nil
}
