// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"sync"
	"time"
)

// manualClock stands still until it is moved.
type manualClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[*manualTimer]bool
}

func newManualClock() *manualClock {
	return &manualClock{now: time.Unix(1_700_000_000, 0), waiting: make(map[*manualTimer]bool)}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) NewTicker(d time.Duration) Ticker { return c.add(d, d) }
func (c *manualClock) NewTimer(d time.Duration) Timer   { return c.add(d, 0) }

func (c *manualClock) add(d, every time.Duration) *manualTimer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{clock: c, at: c.now.Add(d), every: every, c: make(chan time.Time, 1)}
	c.waiting[t] = true
	return t
}

// advance moves the clock and fires what is due, each at most once.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.waiting {
		if c.now.Before(t.at) {
			continue
		}
		select {
		case t.c <- c.now:
		default:
		}
		t.at = c.now.Add(t.every)
		if t.every == 0 {
			delete(c.waiting, t)
		}
	}
}

type manualTimer struct {
	clock *manualClock
	at    time.Time
	every time.Duration
	c     chan time.Time
}

func (t *manualTimer) C() <-chan time.Time { return t.c }

func (t *manualTimer) Stop() {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	delete(t.clock.waiting, t)
}
