// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package model is a plain, sequential model of an etcd 3.7 store, and its test
// drives keelson, a real etcd and the model with one stream of random requests
// and wants three equal answers each time.
//
// The model's state is a list of all writes, in order, and a map of what is
// alive; everything else is computed from them by loops that one can check by
// reading. It knows no concurrency, no disk, no clock and no network. Responses
// carry a revision in their header and nothing else that depends on a cluster.
// Errors are the gRPC statuses that a client sees.
//
// The model follows etcd, not what etcd's documentation says, in these places:
//
//   - A limit is applied before a sort that the request asks for by target only
//     (no order): the first keys are taken, then sorted.
//   - keys_only leaves the lease out as well, but not when sorting by value.
//   - A negative revision reads the newest state, yet in a transaction it is
//     below the compacted revision once there is one.
//   - A DeleteRange with range_end "\0" (all keys from here) never clashes with
//     a put of the same transaction.
//   - HashKV at a revision that was compacted answers with the hash that the
//     compaction computed, for the newest ten, until the server restarts.
//   - A watcher's prev_kv is missing when the revision before the event's is
//     compacted.
//
// One thing is left out of the random stream because etcd 3.7.3 loses data by
// it and ends: a transaction that deletes a key through a from-here range and
// puts it again afterwards. A compaction at exactly that revision then drops the
// new value from etcd's backend but not from its index, and the next read finds
// nothing. keelson is tested for it against the model alone.
//
// The length and the seed of a run are flags, or variables where flags do not
// reach; a mismatch prints the command that shows it again:
//
//	go test ./test/model -ops 200000 -seed 1 -timeout 30m
//	KEELSON_MODEL_OPS=200000 KEELSON_MODEL_SEED=1 go test -timeout 30m ./test/...
//
// The package may import etcd's API and nothing of keelson's.
package model
