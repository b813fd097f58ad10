// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import "sync"

// pins keeps the views at which a limited Range had more to give: the next
// pages ask for the same revision, and on its own view their count is
// O(log n) instead of a scan. The oldest pin makes room for the newest.
type pins struct {
	limit int

	mu       sync.Mutex
	views    []*view
	restores int // of views that may be added
}

func (p *pins) add(w *view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.restores != p.restores {
		return // read while its database was being replaced
	}
	for _, old := range p.views {
		if old.rev == w.rev {
			return
		}
	}
	if len(p.views) >= p.limit {
		p.views = append(p.views[:0], p.views[1:]...)
	}
	p.views = append(p.views, w)
}

// get returns a view whose own revision is rev, nil if none is pinned.
func (p *pins) get(rev int64) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.views {
		if w.rev == rev {
			return w
		}
	}
	return nil
}

// dropBelow forgets views that compaction at rev has made unreadable.
func (p *pins) dropBelow(rev int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.views[:0]
	for _, w := range p.views {
		if w.rev >= rev {
			kept = append(kept, w)
		}
	}
	clear(p.views[len(kept):])
	p.views = kept
}

// clear forgets all views, and takes only those of a later database from now on.
func (p *pins) clear(restores int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.views, p.restores = nil, restores
}
