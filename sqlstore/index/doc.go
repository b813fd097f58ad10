// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package index is an ordered map from keys to values that counts its live items over any range in
// O(log n) and that can be snapshotted in O(1).
//
// # Place on the request's path
//
// sqlstore keeps one Tree from every key to its revisions. Apply, its only writer, changes the tree
// and publishes a snapshot with each batch; ranges, counts and watch catch-up read the newest
// snapshot from any number of goroutines, without a lock and without ever holding up apply.
//
// # How it works
//
// The tree is a B+tree: items are in the leaves, inner nodes hold a lower bound, a pointer and,
// through the pointer, the number of live items for each child. Every node carries the generation of
// the tree in which it was made. Snapshot gives the nodes to the snapshot by raising the tree's
// generation: from then on, the writer copies a node of an older generation before it changes it,
// and so copies at most one path for the first write after a snapshot and fewer nodes for the next.
// A copied node shares its key array with the original until the set of keys changes, so that
// replacing a value, the commonest write of a Kubernetes store, copies pointers only.
//
// An item is Live or Dead. A dead item is a key whose newest revision is a tombstone: it is in the
// map, because its history may be read until it is compacted, but no count includes it.
//
// # What holds
//
//   - A snapshot never changes (design.md, invariant 6 rests on it: a read sees one state).
//   - Count over any range equals the number of live items that Ascend visits in it.
//   - All leaves are at the same depth; every node but the root has between minItems and maxItems
//     items, so no call is worse than O(log n) plus what it visits.
//   - The tree depends on the calls alone: no clock, no randomness (invariant 2).
//
// # Imports
//
// The standard library only.
package index
