// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend writes and reads a store's content the way an etcd member keeps its
// own: as a bbolt file with etcd's buckets, in the schema of etcd 3.7.
//
// Place on the request's path: none. Maintenance.Snapshot sends such a file, which
// etcdctl, etcdutl and etcd itself take, and so does a leader to an etcd that lags. The
// content comes from a sqldb.Copy, one state of one raft index, row by row. In the
// other direction Import makes a database of what an etcd that leads has sent.
//
// Invariants, by their number in the project's design:
//
//	2  The bucket "key" holds the bytes that an etcd with the same log has there,
//	   so the file's HashKV is the store's.
//	7  Memory holds one transaction of Options.TxBytes. The file is at most as large
//	   as leaves Options.ReserveBytes of its file system free.
//	8  A file that can't be finished is none: it never has a name, so that nothing is
//	   left of it, however the process ends. A damaged file is an error to Import, and
//	   never the end of the process.
//
// Allowed imports: bbolt, which no other package of the server imports,
// sqlstore/sqldb, sqlstore/wire, raft's messages, etcd's messages. Not etcd's storage
// packages: they register the metrics that keelson has itself.
package backend
