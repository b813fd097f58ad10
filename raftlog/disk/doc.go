// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package disk keeps a raft log in etcd's files, by etcd's own packages: segments of a write-ahead log in
// <data-dir>/member/wal, snapshot metadata in <data-dir>/member/snap.
//
// On a request's path it is the last step of raftlog: a batch of entries becomes one write and one fdatasync.
// What it adds to etcd's packages is what happens when things go wrong:
//
//   - Opening reads back only as far as the state machine needs, and refuses, before anything is written, a
//     directory that another process holds, a log that does not reach back far enough, and a log that is
//     damaged, naming file and byte offset. Only what a crash left of a write that was never synced is cut
//     off (damage.go), and the file is kept beside it.
//   - A write that fails because the disk is full can be repeated: Reopen takes back what it left.
//   - Segments are let go only up to a snapshot whose index the state machine holds durably.
//
// Invariants held here (by the numbers of the design): 1, the fdatasync; 3, the release of segments.
//
// Its types are the leaf that raftlog's Storage interface is written in. It may import etcd's wal, snap and
// fileutil packages, raft's message types and zap; nothing of keelson.
package disk
