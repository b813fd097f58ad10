// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

// Liveness says whether an item is counted.
type Liveness uint8

const (
	// Dead is the liveness of a key whose newest revision is a tombstone: kept, visited, not counted.
	Dead Liveness = iota
	// Live is the liveness of a key that exists.
	Live
)

// Tree is an ordered map from string keys to values of type V with counts of live items.
//
// One goroutine may write it. Its snapshots are read-only and may be read by any number of
// goroutines meanwhile; they must reach those goroutines through something that synchronises, such as
// an atomic.Pointer. The tree itself may only be read by its writer, or while nobody writes.
//
// Bounds of ranges are half open, lo <= key < hi; an hi of "" means no upper end.
type Tree[V any] struct {
	root *node[V] // never nil; an empty leaf when the tree is empty
	len  int      // all items
	// generation is that of the nodes which this tree owns and may change in place. Only one tree of
	// a family of snapshots ever writes, so a counter is enough to tell its nodes from theirs.
	// Generation 0 is a snapshot's: it owns nothing.
	generation uint64
}

// New returns an empty tree.
func New[V any]() *Tree[V] {
	const first = 1
	return &Tree[V]{root: newLeaf[V](first), generation: first}
}

// Len returns the number of items, dead ones included.
func (t *Tree[V]) Len() int { return t.len }

// Live returns the number of live items.
func (t *Tree[V]) Live() int { return t.root.live }

// Snapshot returns a read-only tree with the present items, in O(1). Writing to it panics. A snapshot
// of a snapshot is the snapshot itself.
func (t *Tree[V]) Snapshot() *Tree[V] {
	if t.generation == 0 {
		return t
	}
	t.generation++
	return &Tree[V]{root: t.root, len: t.len}
}

// Get returns the value of key. The key is not kept.
func (t *Tree[V]) Get(key string) (V, bool) {
	n := t.root
	for !n.isLeaf() {
		n = n.kids[n.childFor(key)]
	}
	i, found := n.search(key)
	if !found {
		var none V
		return none, false
	}
	return n.vals[i], true
}

// Set puts v under key and returns the value that it replaces. A new key's string is kept for as long
// as the item is in the tree or a snapshot; a replaced item keeps the string it was first put under,
// so that its bytes may be shared with something short-lived then.
func (t *Tree[V]) Set(key string, live Liveness, v V) (old V, replaced bool) {
	t.mustBeWritable()
	t.root = t.own(t.root)
	old, replaced = t.set(t.root, key, live, v)
	if !replaced {
		t.len++
	}
	if t.root.items() > maxItems {
		left := t.root
		right := t.split(left)
		t.root = newInner(t.generation, left, right)
	}
	return old, replaced
}

// Delete takes key out of the tree and returns its value. The key is not kept.
func (t *Tree[V]) Delete(key string) (old V, ok bool) {
	t.mustBeWritable()
	// Look first: a key that is not there must not cost a copy of its path.
	if _, found := t.Get(key); !found {
		return old, false
	}
	t.root = t.own(t.root)
	old = t.remove(t.root, key)
	t.len--
	if !t.root.isLeaf() && t.root.items() == 1 {
		t.root = t.root.kids[0]
	}
	return old, true
}

// Count returns the number of live items with lo <= key < hi, in O(log n).
func (t *Tree[V]) Count(lo, hi string) int {
	if hi != "" && hi <= lo {
		return 0
	}
	upper := t.root.live
	if hi != "" {
		upper = t.root.rank(hi)
	}
	if lo == "" {
		return upper
	}
	return upper - t.root.rank(lo)
}

// Ascend calls fn for every item with lo <= key < hi, dead ones included, in ascending order, until
// fn returns false. fn must not write the tree.
func (t *Tree[V]) Ascend(lo, hi string, fn func(key string, v V) bool) {
	t.root.ascend(lo, hi, fn)
}

// Descend is Ascend in descending order.
func (t *Tree[V]) Descend(lo, hi string, fn func(key string, v V) bool) {
	t.root.descend(lo, hi, fn)
}

func (t *Tree[V]) mustBeWritable() {
	if t.generation == 0 {
		// A fault of the program: its readers would see a state that never was.
		panic("index: write to a snapshot")
	}
}
