// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

// Builder makes a tree from items that come in ascending order of key, in O(n) and without searching
// or splitting: start-up uses it. The zero Builder is ready for use.
type Builder[V any] struct {
	leaves []*node[V]
	len    int
	last   string
}

// builderGeneration is the generation of what Builder makes and so of the tree it returns.
const builderGeneration = 1

// Append adds an item. Keys must be strictly ascending; anything else is a fault of the caller, and
// panics.
func (b *Builder[V]) Append(key string, live Liveness, v V) {
	if b.len > 0 && key <= b.last {
		panic("index: Builder.Append: keys out of order")
	}
	if n := len(b.leaves); n == 0 || b.leaves[n-1].items() == mergeItems {
		b.leaves = append(b.leaves, newLeaf[V](builderGeneration))
	}
	leaf := b.leaves[len(b.leaves)-1]
	i := leaf.items()
	leaf.keys = append(leaf.keys, key)
	leaf.vals = append(leaf.vals, v)
	leaf.setLiveness(i, live)
	if live == Live {
		leaf.live++
	}
	b.len++
	b.last = key
}

// Len returns the number of items so far.
func (b *Builder[V]) Len() int { return b.len }

// Tree returns the tree and leaves the builder empty.
func (b *Builder[V]) Tree() *Tree[V] {
	if b.len == 0 {
		return New[V]()
	}
	level := b.leaves
	fillLast(level)
	for len(level) > 1 {
		var above []*node[V]
		for len(level) > 0 {
			n := min(len(level), mergeItems)
			above = append(above, newInner(builderGeneration, level[:n]...))
			level = level[n:]
		}
		level = above
		fillLast(level)
	}
	t := &Tree[V]{root: level[0], len: b.len, generation: builderGeneration}
	*b = Builder[V]{}
	return t
}

// fillLast gives the last node of a level its share of its neighbour's items if it has too few.
func fillLast[V any](level []*node[V]) {
	n := len(level)
	if n > 1 && level[n-1].items() < minItems {
		evenOut(level[n-2], level[n-1])
	}
}
