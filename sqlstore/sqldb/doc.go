// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package sqldb is the SQLite file of one node: its schema, the one goroutine
// that writes it, and the readers.
//
// Place on the request's path: sqlstore applies entries in memory and hands each
// batch of rows to Write, which only enqueues; the rows reach the file a moment
// later, many batches in one transaction. Values that sqlstore no longer keeps in
// memory come back through Read and Scan. Durability of a request is the log's
// business, not this package's: until Persist has said that an index is durable
// the log keeps the entries above it.
//
// Invariants, by their number in the project's design:
//
//	3  A batch's rows and its applied index are one transaction, batches are
//	   committed in the order of Write, and after any crash the file holds a
//	   prefix of them. Persist returns an index only when a loss of power can't
//	   take it back.
//	7  The backlog is bounded by Options.BacklogBytes, connections by ReadConns,
//	   transactions by TxRows and TxBytes, SQLite's caches by CacheBytes, open copies
//	   by Copies, the -wal file by CheckpointBytes as long as no reader or copy holds
//	   it; a copy doesn't hold more than 256 MiB, or the database's size if that is
//	   more. Stats shows the sizes.
//	8  A file that is not a keelson database, is newer, or is damaged is refused
//	   before anything is written to it.
//
// The schema is public: docs/schema.md describes it, schema.sql and what later
// versions add (schema2.sql) make it, Open brings older files up to date, and
// anybody may read the file with any SQLite tool while the node runs. Nobody else
// may write it.
//
// Allowed imports: modernc.org/sqlite, zap, the standard library. Nothing of keelson.
package sqldb
