// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

import "slices"

// own returns n if this tree may change it, else a copy that it may change, which shares n's keys.
func (t *Tree[V]) own(n *node[V]) *node[V] {
	if n.generation == t.generation {
		return n
	}
	c := *n
	c.generation = t.generation
	if n.isLeaf() {
		c.vals = append(make([]V, 0, maxItems+1), n.vals...)
	} else {
		c.kids = append(make([]*node[V], 0, maxItems+1), n.kids...)
	}
	return &c
}

// ownKeys makes the keys of n, which this tree owns, changeable.
func (t *Tree[V]) ownKeys(n *node[V]) {
	if n.keysGeneration == t.generation {
		return
	}
	n.keys = append(make([]string, 0, maxItems+1), n.keys...)
	n.keysGeneration = t.generation
}

// ownKid makes the i-th child of n, which this tree owns, changeable, and returns it.
func (t *Tree[V]) ownKid(n *node[V], i int) *node[V] {
	n.kids[i] = t.own(n.kids[i])
	return n.kids[i]
}

// set puts an item below n, which this tree owns. n may have maxItems+1 items afterwards; the caller
// splits it then.
func (t *Tree[V]) set(n *node[V], key string, live Liveness, v V) (old V, replaced bool) {
	if n.isLeaf() {
		i, found := n.search(key)
		if !found {
			t.ownKeys(n)
			n.insertItem(i, key, live, v)
			return old, false
		}
		old = n.vals[i]
		n.vals[i] = v
		n.setLiveness(i, live)
		n.countLive()
		return old, true
	}
	i := n.childFor(key)
	kid := t.ownKid(n, i)
	n.live -= kid.live
	old, replaced = t.set(kid, key, live, v)
	n.live += kid.live
	if kid.items() > maxItems {
		right := t.split(kid)
		t.ownKeys(n)
		n.keys = slices.Insert(n.keys, i+1, right.keys[0])
		n.kids = slices.Insert(n.kids, i+1, right)
	}
	return old, replaced
}

// split moves the upper half of n, which this tree owns, to a new node and returns that.
func (t *Tree[V]) split(n *node[V]) *node[V] {
	t.ownKeys(n)
	var right *node[V]
	if n.isLeaf() {
		right = newLeaf[V](t.generation)
	} else {
		right = newInner[V](t.generation)
	}
	n.moveTail(n.items()/2, right)
	return right
}

// remove takes key, which is there, out of the subtree of n, which this tree owns. n may have
// minItems-1 items afterwards; the caller balances it then.
func (t *Tree[V]) remove(n *node[V], key string) V {
	if n.isLeaf() {
		i, _ := n.search(key)
		old := n.vals[i]
		t.ownKeys(n)
		n.removeItem(i)
		return old
	}
	i := n.childFor(key)
	kid := t.ownKid(n, i)
	n.live -= kid.live
	old := t.remove(kid, key)
	n.live += kid.live
	if kid.items() < minItems {
		// There is a neighbour: Delete replaces a root that is left with one child by that child.
		t.balance(n, max(i-1, 0))
	}
	return old
}

// balance merges children i and i+1 of n, which this tree owns, or evens out their items.
func (t *Tree[V]) balance(n *node[V], i int) {
	left, right := t.ownKid(n, i), t.ownKid(n, i+1)
	t.ownKeys(n)
	t.ownKeys(left)
	t.ownKeys(right)
	if !right.isLeaf() {
		right.keys[0] = n.keys[i+1] // what was never looked at becomes a bound in the left node
	}
	if total := left.items() + right.items(); total <= mergeItems {
		right.moveHead(right.items(), left)
		n.keys = slices.Delete(n.keys, i+1, i+2)
		n.kids = slices.Delete(n.kids, i+1, i+2)
		return
	}
	evenOut(left, right)
	n.keys[i+1] = right.keys[0]
}

// evenOut moves items between two neighbours, whose keys are owned, until they have the same number.
func evenOut[V any](left, right *node[V]) {
	switch half := (left.items() + right.items()) / 2; {
	case left.items() < half:
		right.moveHead(half-left.items(), left)
	case left.items() > half:
		// Items can only be appended, so the right node's go behind the left's tail in a fresh node.
		fresh := node[V]{
			keys: make([]string, 0, maxItems+1),
		}
		if left.isLeaf() {
			fresh.vals = make([]V, 0, maxItems+1)
		} else {
			fresh.kids = make([]*node[V], 0, maxItems+1)
		}
		left.moveTail(half, &fresh)
		right.moveHead(right.items(), &fresh)
		right.keys, right.vals, right.kids = fresh.keys, fresh.vals, fresh.kids
		right.dead, right.live = fresh.dead, fresh.live
	}
}
