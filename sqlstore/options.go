// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keelson.io/keelson/metrics"
	"keelson.io/keelson/sqlstore/sqldb"
)

// Defaults of Options.
const (
	DefaultCacheBytes        = 512 << 20
	DefaultMinLeaseTTL       = 2
	DefaultEventRingEvents   = 100_000
	DefaultStreamQueueBytes  = 8 << 20
	DefaultStreamQueueItems  = 4096
	DefaultWatchBacklogBytes = 256 << 20
	DefaultPinnedViews       = 16
	DefaultCompactionBatch   = 1000
)

// Options of a Store. Zero fields take the defaults above.
type Options struct {
	// DB are the options of the SQLite file; Path and Clock are required.
	// OnCommit is the store's own.
	DB sqldb.Options
	// Logger; nil logs nothing.
	Logger *zap.Logger
	// CacheBytes bounds the values in memory that SQLite has too, in bytes.
	CacheBytes int64
	// MinLeaseTTL is the shortest TTL granted, in seconds. Like etcd's it
	// follows from the election timeout and must be the same on all members.
	MinLeaseTTL int64
	// EventRingEvents bounds the recent events kept for watchers a little
	// behind; what SQLite has not committed yet is kept beyond that.
	EventRingEvents int
	// StreamQueueBytes and StreamQueueItems bound what waits on one watch
	// stream, WatchBacklogBytes what waits on all of them. A watcher over a
	// bound reads history instead.
	StreamQueueBytes  int64
	StreamQueueItems  int
	WatchBacklogBytes int64
	// PinnedViews bounds the views kept for pages at a fixed revision.
	PinnedViews int
	// CompactionBatch is how many keys compaction visits at a time while it
	// holds up apply.
	CompactionBatch int
	// Metrics to count with. Nil: counted for nobody.
	Metrics *metrics.Store
	// Observe is told every change of the keyspace from apply, at load and by
	// compaction, by one goroutine at a time. It must be quick. Nil: nobody.
	Observe func(Change)
	// OnLease is told, after the batch that did it is readable, what became
	// of leases. Nil: nobody.
	OnLease func([]LeaseEvent)
	// Authority says who may do what. Nil: everybody does everything, and requests
	// about users and roles are ErrUnsupported.
	Authority Authority
}

// ChangeKind says what a Change is.
type ChangeKind uint8

// The kinds of Change.
const (
	ChangePut ChangeKind = iota
	ChangeDelete
	ChangeCompact // versions of the key left history
	ChangeLoad    // found at start, or after a reset
	ChangeReset   // all that was told before is void; a ChangeLoad follows for all there is
)

// Change is what one write, or compaction, did to a key. Sizes are bytes of
// the encoded KeyValue; 0 means that the key does not exist.
type Change struct {
	Kind             ChangeKind
	Key              string
	OldSize, NewSize int64
	History          int64 // bytes that versions no longer live grew by; negative after compaction
}

func (o Options) withDefaults() Options {
	fill(&o.CacheBytes, DefaultCacheBytes)
	fill(&o.MinLeaseTTL, DefaultMinLeaseTTL)
	fill(&o.EventRingEvents, DefaultEventRingEvents)
	fill(&o.StreamQueueBytes, DefaultStreamQueueBytes)
	fill(&o.StreamQueueItems, DefaultStreamQueueItems)
	fill(&o.WatchBacklogBytes, DefaultWatchBacklogBytes)
	fill(&o.PinnedViews, DefaultPinnedViews)
	fill(&o.CompactionBatch, DefaultCompactionBatch)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewStore(prometheus.NewRegistry(), func() metrics.StoreStats { return metrics.StoreStats{} })
	}
	if o.Observe == nil {
		o.Observe = func(Change) {}
	}
	if o.OnLease == nil {
		o.OnLease = func([]LeaseEvent) {}
	}
	return o
}

// validate lists every fault at once. sqldb checks its own options.
func (o Options) validate() error {
	var faults []error
	check := func(name string, n int64) {
		if n < 0 {
			faults = append(faults, fmt.Errorf("sqlstore: options: negative %s %d", name, n))
		}
	}
	check("cache bound", o.CacheBytes)
	check("minimum lease TTL", o.MinLeaseTTL)
	check("event ring", int64(o.EventRingEvents))
	check("stream queue bytes", o.StreamQueueBytes)
	check("stream queue items", int64(o.StreamQueueItems))
	check("watch backlog", o.WatchBacklogBytes)
	check("pinned views", int64(o.PinnedViews))
	check("compaction batch", int64(o.CompactionBatch))
	return errors.Join(faults...)
}

func fill[T int | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
