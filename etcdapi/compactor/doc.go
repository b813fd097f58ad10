// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package compactor compacts a store by itself, as etcd does with
// --auto-compaction-mode and --auto-compaction-retention.
//
// # Place on the request's path
//
// None: it makes requests of its own, compactions, which go through the log as
// those of clients do. Only the leader makes any; the others keep the record that
// they would need as leader.
//
// # What is promised
//
//   - What is compacted, and when, is what etcd's own compactor would compact, for
//     which the tests run both side by side.
//   - At most one compaction is under way; one that fails is tried again.
//
// etcd's package is not used because it imports etcd's store.
//
// # Imports
//
// clockwork and zap.
package compactor
