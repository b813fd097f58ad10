// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package sqlstore is the state machine behind the log: etcd's MVCC store,
// kept as an ordered index in memory and as rows in one SQLite file.
//
// Place on the request's path: etcdapi hands it committed entries through
// Apply and reads through Range, ReadTxn, RangeStream, HashKV and watch
// streams. Nothing here knows how entries were agreed on or how requests
// arrived: the payload of an entry is an etcdserverpb.InternalRaftRequest.
//
// One goroutine at a time applies. It works on a private copy-on-write tree
// and, at the end of a batch, publishes an immutable view (tree, revision,
// compacted revision) that any number of readers use without a lock. The rows
// of the batch and its applied index go to the SQLite writer together; until
// SQLite has committed them their values stay in memory, afterwards they live
// in a bounded cache.
//
// Who may do what is decided by an Authority (auth.go), which apply asks before each
// request about keys or leases, and which applies those about users and roles. The
// store keeps the tables for it.
//
// Invariants, by their number in the project's design:
//
//	2  Apply uses no clock, no randomness, no map order and no local setting
//	   other than MinLeaseTTL, which etcd derives from the election timeout.
//	3  An entry's rows and applied index are one SQLite transaction.
//	4  The revision only grows; at start it is at least the compacted one, and
//	   Restore refuses what is older than the store.
//	5  A watcher gets each event once, in revision order; see watch.go.
//	7  Value cache, writer backlog, event ring, watcher queues and pinned views
//	   are bounded by Options.
//	8  A refused entry changes nothing: checks come before the first write.
//
// Allowed imports: sqlstore/index, sqlstore/sqldb, sqlstore/wire, sqlstore/backend, metrics,
// etcd's generated messages and interval tree, zap. Neither raft nor grpc.
package sqlstore
