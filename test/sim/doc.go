// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package sim runs a whole cluster in one process and one goroutine. What happens next is the earliest event of a queue, and
// whatever is open about it (when, whether, to whom) is drawn from a seed: clocks, network, disks, crashes, clients. A
// seed gives the same run each time, so a failure found once can be looked at as often as one likes:
//
//	go test ./test/sim -run TestSeeds -seeds 1 -seed 4711 -trace
//
// # The world
//
// The nodes are the real thing: raftlog.Log, driven step by step through raftlog.Manual, and raft itself, which takes its
// election timeouts from crypto/rand.Reader, here a seeded one. What they stand on is of two kinds.
//
//   - The log's storage is a simulated one (simlog.go), whose segments know which of their bytes are synced, or, for one
//     seed in six, package raftlog/disk in real files (files.go), of whose tail a crash leaves what it pleases, by sectors.
//   - The state machine is a small keyspace in memory (keyspace.go, memory.go) or, for one seed in fifteen, the real
//     one: etcdapi.StateMachine over sqlstore and SQLite (sqlite*.go), with its snapshots, restores and watch streams.
//
// The first kinds are fast and find what is wrong in raftlog; the second find what is wrong in raftlog/disk, sqlstore
// and etcdapi's adapter. gRPC, rafthttp, the lessor and the programs are not in here: test/cluster has those.
// Compaction is left out over SQLite, where a goroutine of its own does it at times that no seed decides.
//
// # Faults
//
// A seed draws which kinds its world has (plan.go), so that each is also met without the noise of all others: messages
// lost, late, out of order, doubled; groups parted, single directions deaf; clocks at different speeds, hours apart, and
// set anew over a restart; processes that end, losses of power that take every byte not synced or tear it, either
// between any two steps and in the middle of saving, snapshotting, receiving and restoring; disks that are slow, that
// stall, that fail for a while; members added, promoted, removed, replaced because their data is gone; leadership
// handed over; snapshots cut off or lost; history compacted. In the end all is healed, and within a bound of virtual
// time all members must agree and each must take a write.
//
// # Checkers
//
// Each names the invariant of the design that it holds:
//
//  1. An acknowledged proposal is on the synced disks of a quorum of the voters at that moment (history.acknowledged), what
//     was synced comes back after a crash, hard state included (ledger.recovered), no index is ever applied with two
//     contents (history.note), and a term has one leader, for one run of it (history.leads).
//  2. What an entry answers, and the state after it, are the same on all nodes and those of an oracle (history.applied,
//     history.compare); in the end HashKV is the same on all members.
//  3. A node comes back with a state that an uncrashed node had at that index (history.known), and can replay the rest; the log is
//     let go of only up to where the state is durable (storage.SaveSnapshot).
//  4. Revisions never go backwards: not at a node (history.local), not for anybody after an acknowledgement (history.write),
//     not by a snapshot (history.restored).
//  5. A watcher gets each event once, in order, whole revisions, progress after events, through crashes and changes
//     of member (watcher.take); it is cancelled for compaction only where there was one.
//  6. Reads and writes are linearizable: by revisions, exactly and at once (history.read), and over the whole run by
//     porcupine, which knows nothing of revisions (linear.go).
//
// Besides: a proposal is applied once at most, and never if the log has said that it was not taken (history.count).
//
// The checkers are checked: bugs.go and the places that look at plan.bug plant errors around the log, and TestPlantedBugs
// wants each found by the checker in charge; blind runs do without those checkers that look into disks, so that the
// error must show itself by what it does.
//
// The package may import raftlog, etcdapi and sqlstore with all below them.
package sim
