// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore/sqldb"
)

// maxCompactHashes is how many hashes of compactions are remembered, as in etcd.
const maxCompactHashes = 10

// compaction is one that the log has ordered: of what a compaction at after has
// left and was written since, up to at.
type compaction struct{ after, at int64 }

// compactHashes are the hashes of the newest compactions. All members compact at
// the same revisions, so these can be compared without anybody reading anything.
// They are not kept over a restart.
type compactHashes struct {
	mu      sync.Mutex
	hashes  []HashResult            // by revision, the newest last
	pending map[int64]chan struct{} // of compactions that were ordered, by revision; closed when they are hashed
}

// at returns the hash of a compaction at rev, if it is remembered. Until one that
// was ordered is hashed it waits: what was asked for after a compaction must not
// depend on how fast that is.
func (c *compactHashes) at(ctx context.Context, rev int64) (HashResult, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hashed := c.pending[rev]; hashed != nil {
		c.mu.Unlock()
		select {
		case <-hashed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := ctx.Err(); err != nil {
			return HashResult{}, false, err
		}
	}
	i := slices.IndexFunc(c.hashes, func(h HashResult) bool { return h.HashRevision == rev })
	if i < 0 {
		return HashResult{}, false, nil
	}
	return c.hashes[i], true, nil
}

// order announces the hash of a compaction at rev.
func (c *compactHashes) order(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		c.pending = make(map[int64]chan struct{})
	}
	c.pending[rev] = make(chan struct{})
}

func (c *compactHashes) add(h HashResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes = append(c.hashes, h)
	c.hashes = slices.Delete(c.hashes, 0, max(0, len(c.hashes)-maxCompactHashes))
}

// settle tells those who wait that all compactions up to rev are hashed, as far as
// they ever will be.
func (c *compactHashes) settle(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, hashed := range c.pending {
		if at <= rev {
			close(hashed)
			delete(c.pending, at)
		}
	}
}

func (c *compactHashes) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes = nil
}

// CompactHashes returns the hashes that the newest compactions have left, the
// newest first: HashRevision is that of the compaction, CompactRevision that of
// the one before. Members with the same log have the same, as far as they have
// them; an etcd member has them too.
func (s *Store) CompactHashes() []HashResult {
	s.compactHashes.mu.Lock()
	defer s.compactHashes.mu.Unlock()
	newest := slices.Clone(s.compactHashes.hashes)
	slices.Reverse(newest)
	return newest
}

// hashCompactions remembers the hashes of compactions of which nothing is deleted
// yet. Without one members are compared at the next.
func (s *Store) hashCompactions(ctx context.Context, ordered []compaction) {
	for _, c := range ordered {
		h, err := s.hashCompaction(ctx, c)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("no hash of a compaction", zap.Int64("compact-revision", c.at), zap.Error(err))
			}
			break
		}
		s.compactHashes.add(h)
	}
	if len(ordered) > 0 {
		s.compactHashes.settle(ordered[len(ordered)-1].at)
	}
}

// errHashed ends a scan that has seen all that counts.
var errHashed = errors.New("all is hashed")

// hashCompaction hashes what etcd hashes while it compacts: the writes up to the
// compaction, without those that the compaction before it has removed.
func (s *Store) hashCompaction(ctx context.Context, c compaction) (HashResult, error) {
	s.mu.Lock() // until the batch that ordered it is with the writer
	w := *s.view.Load()
	s.mu.Unlock()
	w.compactRev = c.after
	h := &kvHash{view: &w, rev: c.at, nothingKept: !w.anyAt(c.at, liveOrDeleted)}
	h.begin()
	// Page by page, since nobody else deletes rows: a long read transaction would keep
	// the -wal file from being emptied.
	err := s.db.use(ctx, func(db *sqldb.DB) error {
		return db.Scan(ctx, 1, func(r sqldb.Row) error {
			if r.Revision > c.at {
				return errHashed
			}
			h.add(r)
			return nil
		})
	})
	if err != nil && !errors.Is(err, errHashed) {
		return HashResult{}, err
	}
	return HashResult{Hash: h.sum, CompactRevision: c.after, HashRevision: c.at}, nil
}
