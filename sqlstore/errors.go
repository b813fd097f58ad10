// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import "errors"

// Errors of reads and of applied entries. etcdapi owns the one table that
// turns them into etcd's gRPC codes and texts.
var (
	// ErrCompacted says that the revision is below the compacted one.
	ErrCompacted = errors.New("sqlstore: required revision has been compacted")
	// ErrFutureRevision says that the revision is above the current one.
	ErrFutureRevision = errors.New("sqlstore: required revision is a future revision")
	// ErrKeyNotFound is the answer to ignore_value or ignore_lease on a key that does not exist.
	ErrKeyNotFound = errors.New("sqlstore: key not found")
	// ErrLeaseNotFound names a lease that was never granted, has expired or was revoked.
	ErrLeaseNotFound = errors.New("sqlstore: lease not found")
	// ErrLeaseExists refuses a grant of an id that is in use.
	ErrLeaseExists = errors.New("sqlstore: lease already exists")
	// ErrLeaseTTLTooLarge refuses a TTL above MaxLeaseTTL.
	ErrLeaseTTLTooLarge = errors.New("sqlstore: too large lease TTL")
	// ErrNoSpace refuses writes while a NOSPACE alarm is raised.
	ErrNoSpace = errors.New("sqlstore: database space exceeded")
	// ErrCorrupt refuses everything while a CORRUPT alarm is raised.
	ErrCorrupt = errors.New("sqlstore: corrupt cluster")
	// ErrUnsupported is the result of an entry of a kind that is not served.
	ErrUnsupported = errors.New("sqlstore: request is not supported")
	// ErrClosed is the answer of a store or watch stream after Close.
	ErrClosed = errors.New("sqlstore: closed")
	// ErrWatcherExists refuses a watch id that is in use on the stream.
	ErrWatcherExists = errors.New("sqlstore: watch id is already in use on this stream")
	// ErrWatcherNotFound says that the stream has no watcher with this id.
	ErrWatcherNotFound = errors.New("sqlstore: no such watcher")
	// ErrEmptyWatchRange refuses a watch whose end is not above its key.
	ErrEmptyWatchRange = errors.New("sqlstore: watcher range is empty")
	// ErrTooManyWatchers refuses a watcher above the store's bound.
	ErrTooManyWatchers = errors.New("sqlstore: too many watchers")
)

// MaxLeaseTTL is the largest TTL of a lease in seconds, as in etcd.
const MaxLeaseTTL = 9000000000
