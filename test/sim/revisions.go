// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

// refuse notes that the log said a proposal was not taken.
func (h *history) refuse(id uint64) {
	h.refused[id] = true
	if index, ok := h.seen[id]; ok {
		h.world.failf("exactly once: proposal %d was refused after it was applied as entry %d", id, index)
	}
}

// write checks the revision that an acknowledged write got.
func (h *history) write(op operation, got outcome) {
	index, ok := h.seen[op.proposal]
	if !ok {
		return // acknowledged has failed
	}
	if want := h.records[index-1].outcome; got != want {
		h.world.failf("invariant 2: proposal %d was answered with %+v and gave %+v", op.proposal, got, want)
	}
	if got.rev < op.floor {
		h.world.failf("invariant 4: a write was answered with revision %d, %d had been acknowledged before it was called", got.rev, op.floor)
	}
	h.acked = max(h.acked, got.rev)
}

// read does a linearizable read at a node and checks it: by the revision against all that was acknowledged before
// the call, by content against what was written up to that revision. It returns the value.
func (h *history) read(n *node, op operation) string {
	value, rev := h.local(n, op.key)
	if op.kind == opReadPair {
		if other, _ := h.local(n, pairKeys[1]); other != value {
			h.world.failf("invariant 5: n%d shows %q and %q, which were never there together", n.id, value, other)
		}
	}
	if rev < op.floor {
		h.world.failf("invariant 6: n%d answered a linearizable read at revision %d, %d had been acknowledged before it was called", n.id, rev, op.floor)
	}
	h.acked = max(h.acked, rev)
	return value
}

// local does a serializable read and checks its content.
func (h *history) local(n *node, key string) (string, int64) {
	it, rev, err := n.sm.read(key)
	if err != nil {
		h.world.failf("n%d: read %s: %w", n.id, key, err)
		return "", rev
	}
	value, mod := h.at(key, rev)
	if it.Mod != mod || it.Value != value || rev > h.oracle.Rev {
		h.world.failf("invariant 2: n%d has %s at revision %d, it was %s", n.id, describe(key, it), rev, describe(key, item{Value: value, Mod: mod}))
	}
	if rev < n.lastRead {
		h.world.failf("invariant 4: n%d answered at revision %d after revision %d", n.id, rev, n.lastRead)
	}
	n.lastRead = rev
	return it.Value, rev
}
