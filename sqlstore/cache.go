// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import "sync"

// valueCache bounds the bytes of values that are in memory although SQLite
// has them. It is a clock (Corbató 1968): versions stand in a ring, the hand
// gives one that was read since its last pass another round and drops the
// value of one that was not. Dropping only clears the version's pointer; a
// reader that already holds the bytes keeps them.
type valueCache struct {
	limit int64 // bytes

	mu   sync.Mutex
	used int64
	ring []*version
	hand int
}

func newValueCache(limit int64) *valueCache { return &valueCache{limit: limit} }

// add takes over a version whose value is in memory and in SQLite.
func (c *valueCache) add(vs ...*version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range vs {
		if v.data.Load() == nil {
			continue
		}
		c.ring = append(c.ring, v)
		c.used += int64(v.size)
		for c.used > c.limit && len(c.ring) > 0 {
			c.evictOne()
		}
	}
}

// evictOne moves the hand on by one version.
func (c *valueCache) evictOne() {
	if c.hand >= len(c.ring) {
		c.hand = 0
	}
	v := c.ring[c.hand]
	if v.touched.Swap(false) {
		c.hand++
		return
	}
	v.data.Store(nil)
	c.used -= int64(v.size)
	last := len(c.ring) - 1
	c.ring[c.hand] = c.ring[last]
	c.ring[last] = nil
	c.ring = c.ring[:last]
}

// bytes returns what the cache holds.
func (c *valueCache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// clear drops all values.
func (c *valueCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.ring {
		v.data.Store(nil)
	}
	c.ring, c.used, c.hand = nil, 0, 0
}
