// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Defaults and limits of Options.
const (
	DefaultPageSize        = 16384
	DefaultBacklogBytes    = 64 << 20
	DefaultTxRows          = 8192
	DefaultTxBytes         = 4 << 20
	DefaultCommitInterval  = 500 * time.Millisecond
	DefaultReadConns       = 2
	DefaultCheckpointBytes = 8 << 20
	DefaultCheckpointEvery = 20 * time.Second
	DefaultCacheBytes      = 4 << 20
	DefaultVacuumMinBytes  = 8 << 20
	DefaultVacuumPercent   = 20
	DefaultCopies          = 3
)

// copyWALBytes is the size of the -wal file over which a copy is ended, if the database is not larger: a receiver
// that takes a little now and then would else have it grow for ever.
const copyWALBytes = 256 << 20

// Clock is where the writer's waits and durations come from.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Options of a DB. Zero fields other than Path and Clock take the defaults above.
type Options struct {
	// Path of the database file. Its folder must exist and must not be
	// shared with another writer. Required.
	Path string
	// Clock drives retries and the commit interval. Required.
	Clock Clock
	// Logger gets what an operator should see: recovery, a disk that refuses
	// writes, and that it accepts them again. Nil: no logs.
	Logger *zap.Logger

	// PageSize in bytes of a database that is created, a power of two from
	// 4096 to 65536. A database that exists keeps its own.
	PageSize int
	// BacklogBytes bounds the memory of batches that are not committed yet
	// (the sum of Batch.Size). Write blocks over it; one batch is always let in.
	BacklogBytes int64
	// TxRows and TxBytes bound how much of the backlog goes into one
	// transaction. A single batch is never split.
	TxRows  int
	TxBytes int64
	// CommitInterval is the longest time a batch waits for company before its
	// transaction begins. Flush and a backlog over TxBytes cut it short.
	// Negative: never wait.
	CommitInterval time.Duration
	// ReadConns bounds the connections that read, and so how many calls of
	// Read, Scan and View run at once; the others wait.
	ReadConns int
	// Copies bounds the copies that are open at once (see Copy); who wants
	// one more waits.
	Copies int
	// CheckpointBytes is the size of the -wal file over which the writer
	// copies it into the database file, and CheckpointEvery the longest time until
	// it does. The time should be below what the kernel waits before it writes on
	// its own, which is 30 seconds on Linux: see checkpoint.go.
	CheckpointBytes int64
	CheckpointEvery time.Duration
	// CacheBytes bounds SQLite's page cache, for each connection.
	CacheBytes int64
	// VacuumMinBytes and VacuumPercent: free pages are given back to the file
	// system, in slices, while the writer has nothing else to do and they are
	// both more than VacuumMinBytes and more than VacuumPercent of the file.
	// Below that they wait for new rows, which use them first.
	VacuumMinBytes int64
	VacuumPercent  int

	// OnCommit is told after each commit the highest sequence number that the
	// database then holds and how long the transaction took. Called by the
	// writer: it must be quick and must not call back into the DB.
	OnCommit func(lastSeq int64, took time.Duration)
	// OnError is told when the writer begins to fail and, with nil, when it
	// works again. Called by the writer, as OnCommit is.
	OnError func(err error)

	// afterStep is told each step that matters when power is lost, for the test
	// that loses it between any two of them.
	afterStep func(step)
	// copyWALBytes is for the test of it.
	copyWALBytes int64
}

// withDefaults returns the options with zero fields filled.
func (o Options) withDefaults() Options {
	setDefault(&o.PageSize, DefaultPageSize)
	setDefault(&o.BacklogBytes, DefaultBacklogBytes)
	setDefault(&o.TxRows, DefaultTxRows)
	setDefault(&o.TxBytes, DefaultTxBytes)
	setDefault(&o.CommitInterval, DefaultCommitInterval)
	setDefault(&o.ReadConns, DefaultReadConns)
	setDefault(&o.Copies, DefaultCopies)
	setDefault(&o.copyWALBytes, copyWALBytes)
	setDefault(&o.CheckpointBytes, DefaultCheckpointBytes)
	setDefault(&o.CheckpointEvery, DefaultCheckpointEvery)
	setDefault(&o.CacheBytes, DefaultCacheBytes)
	setDefault(&o.VacuumMinBytes, DefaultVacuumMinBytes)
	setDefault(&o.VacuumPercent, DefaultVacuumPercent)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.OnCommit == nil {
		o.OnCommit = func(int64, time.Duration) {}
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	if o.afterStep == nil {
		o.afterStep = func(step) {}
	}
	return o
}

// validate lists every fault at once.
func (o Options) validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("sqldb: "+format, args...))
		}
	}
	fault(o.Path == "", "options: no path")
	fault(o.Clock == nil, "options: no clock")
	fault(o.PageSize < 4096 || o.PageSize > 65536 || o.PageSize&(o.PageSize-1) != 0,
		"options: page size %d is not a power of two from 4096 to 65536", o.PageSize)
	fault(o.BacklogBytes < 0, "options: negative backlog bound %d", o.BacklogBytes)
	fault(o.TxRows < 0, "options: negative transaction bound of %d rows", o.TxRows)
	fault(o.TxBytes < 0, "options: negative transaction bound of %d bytes", o.TxBytes)
	fault(o.ReadConns < 0, "options: negative number of reading connections %d", o.ReadConns)
	fault(o.Copies < 0, "options: negative number of copies %d", o.Copies)
	fault(o.CheckpointBytes < 0, "options: negative checkpoint bound %d", o.CheckpointBytes)
	fault(o.CheckpointEvery < 0, "options: negative checkpoint interval %v", o.CheckpointEvery)
	fault(o.CacheBytes < 0, "options: negative cache bound %d", o.CacheBytes)
	fault(o.VacuumMinBytes < 0, "options: negative vacuum bound %d", o.VacuumMinBytes)
	fault(o.VacuumPercent < 0 || o.VacuumPercent > 100, "options: vacuum share %d%% is not from 0 to 100", o.VacuumPercent)
	return errors.Join(faults...)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
