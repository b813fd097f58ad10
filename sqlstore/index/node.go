// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"math/bits"
	"slices"
)

const (
	// maxItems is the most items of a leaf and children of an inner node between two calls. It is
	// below 64 so that a leaf that is about to be split still fits the bits of node.dead.
	maxItems = 48
	// minItems is the least of any node but the root. It is well below half of maxItems, so that a
	// key which comes and goes does not split and merge the same node each time.
	minItems = 12
	// mergeItems is the size up to which an underfull node and its sibling become one; above it they
	// share their items evenly. It is also how full Builder makes a node. Two nodes that share more
	// than mergeItems have at least minItems each.
	mergeItems = 36
)

// node is a leaf, which has vals, or an inner node, which has kids; keys goes with either, index by
// index. In an inner node keys[i] is at most the least key below kids[i] and above every key below
// kids[i-1]; keys[0] is never looked at, since the first child takes whatever is below keys[1].
type node[V any] struct {
	generation     uint64 // the tree that may change this node; see Tree.generation
	keysGeneration uint64 // the same for the array of keys, which copies share
	live           int    // live items in this subtree
	dead           uint64 // leaf: bit i is set when item i is dead
	keys           []string
	vals           []V
	kids           []*node[V]
}

func newLeaf[V any](generation uint64) *node[V] {
	return &node[V]{
		generation:     generation,
		keysGeneration: generation,
		keys:           make([]string, 0, maxItems+1),
		vals:           make([]V, 0, maxItems+1),
	}
}

func newInner[V any](generation uint64, kids ...*node[V]) *node[V] {
	n := &node[V]{
		generation:     generation,
		keysGeneration: generation,
		keys:           make([]string, 0, maxItems+1),
		kids:           make([]*node[V], 0, maxItems+1),
	}
	for _, kid := range kids {
		n.keys = append(n.keys, kid.keys[0])
		n.kids = append(n.kids, kid)
		n.live += kid.live
	}
	return n
}

func (n *node[V]) isLeaf() bool { return n.kids == nil }

func (n *node[V]) items() int { return len(n.keys) }

// search returns the index of the first key that is not below key, and whether it is key.
func (n *node[V]) search(key string) (int, bool) {
	lo, hi := 0, len(n.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.keys[mid] < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.keys) && n.keys[lo] == key
}

// childFor returns the index of the child below which key is or would be.
func (n *node[V]) childFor(key string) int {
	lo, hi := 1, len(n.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.keys[mid] <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// rank returns the number of live items below key.
func (n *node[V]) rank(key string) int {
	rank := 0
	for !n.isLeaf() {
		i := n.childFor(key)
		for _, kid := range n.kids[:i] {
			rank += kid.live
		}
		n = n.kids[i]
	}
	i, _ := n.search(key)
	return rank + i - bits.OnesCount64(n.dead&lowBits(i))
}

func (n *node[V]) ascend(lo, hi string, fn func(string, V) bool) bool {
	if n.isLeaf() {
		i, _ := n.search(lo)
		for ; i < len(n.keys); i++ {
			if hi != "" && n.keys[i] >= hi {
				return false
			}
			if !fn(n.keys[i], n.vals[i]) {
				return false
			}
		}
		return true
	}
	first := n.childFor(lo)
	for i := first; i < len(n.kids); i++ {
		if i > first && hi != "" && n.keys[i] >= hi {
			return false
		}
		if !n.kids[i].ascend(lo, hi, fn) {
			return false
		}
	}
	return true
}

func (n *node[V]) descend(lo, hi string, fn func(string, V) bool) bool {
	if n.isLeaf() {
		i := len(n.keys)
		if hi != "" {
			i, _ = n.search(hi)
		}
		for i--; i >= 0; i-- {
			if n.keys[i] < lo {
				return false
			}
			if !fn(n.keys[i], n.vals[i]) {
				return false
			}
		}
		return true
	}
	last := len(n.kids) - 1
	if hi != "" {
		last = n.childFor(hi)
	}
	for i := last; i >= 0; i-- {
		if !n.kids[i].descend(lo, hi, fn) {
			return false
		}
		if i > 0 && n.keys[i] <= lo {
			return false
		}
	}
	return true
}

// countLive sets live from the items or children.
func (n *node[V]) countLive() {
	if n.isLeaf() {
		n.live = len(n.keys) - bits.OnesCount64(n.dead)
		return
	}
	n.live = 0
	for _, kid := range n.kids {
		n.live += kid.live
	}
}

// setLiveness marks item i of a leaf. The caller counts.
func (n *node[V]) setLiveness(i int, live Liveness) {
	if live == Live {
		n.dead &^= 1 << i
	} else {
		n.dead |= 1 << i
	}
}

// insertItem puts an item at index i of a leaf that owns its keys.
func (n *node[V]) insertItem(i int, key string, live Liveness, v V) {
	n.keys = slices.Insert(n.keys, i, key)
	n.vals = slices.Insert(n.vals, i, v)
	low := lowBits(i)
	n.dead = n.dead&low | (n.dead&^low)<<1
	n.setLiveness(i, live)
	n.countLive()
}

// removeItem takes out the item at index i of a leaf that owns its keys.
func (n *node[V]) removeItem(i int) {
	n.keys = slices.Delete(n.keys, i, i+1)
	n.vals = slices.Delete(n.vals, i, i+1)
	low := lowBits(i)
	n.dead = n.dead&low | n.dead>>1&^low
	n.countLive()
}

// moveTail appends the items or children of n from index i on to dst, of the same kind, and cuts n
// there. Both own their keys.
func (n *node[V]) moveTail(i int, dst *node[V]) {
	if n.isLeaf() {
		dst.dead |= n.dead >> i << len(dst.keys)
		n.dead &= lowBits(i)
		dst.vals = append(dst.vals, n.vals[i:]...)
		n.vals = slices.Delete(n.vals, i, len(n.vals))
	} else {
		dst.kids = append(dst.kids, n.kids[i:]...)
		n.kids = slices.Delete(n.kids, i, len(n.kids))
	}
	dst.keys = append(dst.keys, n.keys[i:]...)
	n.keys = slices.Delete(n.keys, i, len(n.keys))
	n.countLive()
	dst.countLive()
}

// moveHead appends the first i items or children of n to dst, of the same kind, and takes them out of
// n. Both own their keys.
func (n *node[V]) moveHead(i int, dst *node[V]) {
	if n.isLeaf() {
		dst.dead |= n.dead & lowBits(i) << len(dst.keys)
		n.dead >>= i
		dst.vals = append(dst.vals, n.vals[:i]...)
		n.vals = slices.Delete(n.vals, 0, i)
	} else {
		dst.kids = append(dst.kids, n.kids[:i]...)
		n.kids = slices.Delete(n.kids, 0, i)
	}
	dst.keys = append(dst.keys, n.keys[:i]...)
	n.keys = slices.Delete(n.keys, 0, i)
	n.countLive()
	dst.countLive()
}

// lowBits returns a word whose lowest i bits are set.
func lowBits(i int) uint64 { return 1<<i - 1 }
