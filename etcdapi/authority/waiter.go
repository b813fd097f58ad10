// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"math"
	"sync"
	"sync/atomic"
)

// maxAwaited bounds the indexes that requests wait for. A token names the index of its
// entry, and any client can make one up.
const maxAwaited = 4096

// waiter lets requests with a simple token wait until this member has applied the entry
// that made it, which another member may have done first.
type waiter struct {
	reached atomic.Uint64
	nearest atomic.Uint64 // the lowest index of awaited, which every entry is compared with; none if there is none

	mu      sync.Mutex
	awaited map[uint64]chan struct{}
	closed  bool
}

// none is an index that no entry reaches.
const none = math.MaxUint64

func newWaiter() *waiter {
	w := &waiter{awaited: make(map[uint64]chan struct{})}
	w.nearest.Store(none)
	return w
}

// past is what those get who need not wait.
var past = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// waitForToken returns a channel that is closed when the entry is applied that made the
// tokens which name the entry at index: the one after that.
func (w *waiter) waitForToken(index uint64) <-chan struct{} { return w.wait(index + 1) }

// wait returns a channel that is closed when the entry at index is applied. When too
// many are awaited the farthest, which is the least likely to be true, is given up: who
// waits for it has only its own deadline left.
func (w *waiter) wait(index uint64) <-chan struct{} {
	if index <= w.reached.Load() {
		return past
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return past
	}
	c, ok := w.awaited[index]
	if !ok {
		c = make(chan struct{})
		w.awaited[index] = c
		if len(w.awaited) > maxAwaited {
			w.dropFarthest()
		}
		w.nearest.Store(min(w.nearest.Load(), index))
	}
	if index <= w.reached.Load() { // meanwhile; applied may have missed it
		w.release(index)
	}
	return c
}

func (w *waiter) dropFarthest() {
	var farthest uint64
	for index := range w.awaited {
		farthest = max(farthest, index)
	}
	delete(w.awaited, farthest)
}

// release lets those go on who wait for entries up to index.
func (w *waiter) release(index uint64) {
	nearest := uint64(none)
	for i, c := range w.awaited {
		if i <= index {
			close(c)
			delete(w.awaited, i)
		} else {
			nearest = min(nearest, i)
		}
	}
	w.nearest.Store(nearest)
}

// applied says that all entries up to index are applied.
func (w *waiter) applied(index uint64) {
	w.reached.Store(index)
	if index < w.nearest.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(index)
}

// close lets everybody go on.
func (w *waiter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.release(none)
}
