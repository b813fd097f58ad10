// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"math/bits"
)

// check reports the first thing about the tree's structure that should not be.
func (t *Tree[V]) check() error {
	c := checker[V]{generation: t.generation, leafDepth: -1}
	if err := c.node(t.root, 0, "", ""); err != nil {
		return err
	}
	if c.items != t.len {
		return fmt.Errorf("tree says %d items, leaves have %d", t.len, c.items)
	}
	return nil
}

type checker[V any] struct {
	generation uint64
	leafDepth  int
	items      int
}

// node checks the subtree of n, all of whose keys must be in [lo, hi).
func (c *checker[V]) node(n *node[V], depth int, lo, hi string) error {
	least := minItems
	switch {
	case depth > 0:
	case n.isLeaf():
		least = 0
	default:
		least = 2
	}
	if len(n.keys) < least || len(n.keys) > maxItems {
		return fmt.Errorf("depth %d: node of %d items", depth, len(n.keys))
	}
	if c.generation != 0 && (n.generation > c.generation || n.keysGeneration > n.generation) {
		return fmt.Errorf("depth %d: generations tree %d, node %d, keys %d",
			depth, c.generation, n.generation, n.keysGeneration)
	}
	for i := range n.keys {
		if neverLookedAt := i == 1 && !n.isLeaf(); neverLookedAt {
			continue // keys[0], which keys[1] need not follow
		}
		if i > 0 && n.keys[i-1] >= n.keys[i] {
			return fmt.Errorf("depth %d: key %q before %q", depth, n.keys[i-1], n.keys[i])
		}
	}
	if n.isLeaf() {
		return c.leaf(n, depth, lo, hi)
	}
	if len(n.kids) != len(n.keys) || n.vals != nil {
		return fmt.Errorf("depth %d: %d keys, %d children, %d values", depth, len(n.keys), len(n.kids), len(n.vals))
	}
	live := 0
	for i, kid := range n.kids {
		kidLo, kidHi := n.keys[i], hi
		if i == 0 {
			kidLo = lo
		}
		if i+1 < len(n.keys) {
			kidHi = n.keys[i+1]
		}
		if err := c.node(kid, depth+1, kidLo, kidHi); err != nil {
			return err
		}
		live += kid.live
	}
	if live != n.live {
		return fmt.Errorf("depth %d: node says %d live, children have %d", depth, n.live, live)
	}
	return nil
}

func (c *checker[V]) leaf(n *node[V], depth int, lo, hi string) error {
	if c.leafDepth < 0 {
		c.leafDepth = depth
	}
	if depth != c.leafDepth {
		return fmt.Errorf("leaves at depths %d and %d", c.leafDepth, depth)
	}
	if len(n.vals) != len(n.keys) {
		return fmt.Errorf("leaf of %d keys, %d values", len(n.keys), len(n.vals))
	}
	if n.dead&^lowBits(len(n.keys)) != 0 {
		return fmt.Errorf("leaf of %d items has dead bits %b", len(n.keys), n.dead)
	}
	if live := len(n.keys) - bits.OnesCount64(n.dead); live != n.live {
		return fmt.Errorf("leaf says %d live, has %d", n.live, live)
	}
	for _, key := range n.keys {
		if key < lo || hi != "" && key >= hi {
			return fmt.Errorf("key %q in a subtree of [%q, %q)", key, lo, hi)
		}
	}
	c.items += len(n.keys)
	return nil
}
