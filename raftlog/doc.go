// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package raftlog orders requests: it brings proposals into a replicated log, makes them durable, and applies
// them to a state machine in the log's order. It does not know what an entry means.
//
// On a request's path it stands between etcdapi, which proposes and reads, and the state machine, which
// etcdapi makes of sqlstore:
//
//	Propose -> batch -> write-ahead log + fdatasync || replicate -> commit -> apply -> result
//	ReadIndex -> (ask the leader ->) applied far enough -> read locally
//
// Members that lag too far behind are sent the state machine's whole content, through the same Transport.
//
// Invariants held here (by the numbers of the design):
//
//  1. A proposer gets its result only after its entry is on disk on a quorum and applied; a proposal is applied once
//     at most, though it is proposed again when its leader is lost.
//  3. Segments of the log are let go only up to where the state machine is durable; at start every entry that
//     it does not hold is replayed.
//  6. ReadIndex returns only when the local state is as new as anything acknowledged before.
//  7. Queues have bounds, named in Options.
//
// DESIGN.md says who does what, in which order, and why. It may import raft, etcd's storage packages (by package
// disk), zap; nothing of keelson but metrics.
package raftlog
