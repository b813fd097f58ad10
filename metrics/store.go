// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// StoreStats are the store's figures at one moment. Counts of what happened are since the start.
type StoreStats struct {
	// Keys that exist.
	Keys int64
	// Revision is the newest, CompactRevision the last that was compacted.
	Revision, CompactRevision int64
	// CompactedVersions of keys left the history.
	CompactedVersions int64

	// DBBytes is the size of the database's file, DBInUseBytes the part of it that is not free pages.
	DBBytes, DBInUseBytes int64
	// WALBytes is the size of SQLite's own write-ahead log.
	WALBytes int64
	// BacklogBytes and BacklogRows wait to be written to SQLite.
	BacklogBytes, BacklogRows int64
	// WriterFailing: SQLite does not take writes at the moment.
	WriterFailing bool
	// CommittedRows and Checkpoints were written and made.
	CommittedRows, Checkpoints int64
	// PendingDeletes are compacted rows that SQLite still has.
	PendingDeletes int64
	// VacuumedPages were given back to the file system.
	VacuumedPages int64

	// CacheBytes is the memory of values that SQLite has too; reads of a value hit or miss it.
	CacheBytes, CacheHits, CacheMisses int64

	// WatchStreams are open with Watchers on them, of which SlowWatchers read history because they are
	// behind.
	WatchStreams, Watchers, SlowWatchers int64
	// Events were handed to watch streams; PendingEvents, of WatchBacklogBytes, wait to be sent.
	Events, PendingEvents int64
	WatchBacklogBytes     int64
}

var storeFigures = []figure[StoreStats]{
	storeGauge("etcd_debugging_mvcc_keys_total", "Keys that exist.",
		func(s StoreStats) int64 { return s.Keys }),
	storeGauge("etcd_debugging_mvcc_current_revision", "Newest revision.",
		func(s StoreStats) int64 { return s.Revision }),
	storeGauge("etcd_debugging_mvcc_compact_revision", "Revision of the last compaction.",
		func(s StoreStats) int64 { return s.CompactRevision }),
	storeCounter("etcd_debugging_mvcc_db_compaction_keys_total", "Versions of keys removed by compaction.",
		func(s StoreStats) int64 { return s.CompactedVersions }),
	storeGauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.",
		func(s StoreStats) int64 { return s.WatchStreams }),
	storeGauge("etcd_debugging_mvcc_watcher_total", "Watchers.",
		func(s StoreStats) int64 { return s.Watchers }),
	storeGauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind and read history.",
		func(s StoreStats) int64 { return s.SlowWatchers }),
	storeCounter("etcd_debugging_mvcc_events_total", "Events handed to watch streams.",
		func(s StoreStats) int64 { return s.Events }),
	storeGauge("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent.",
		func(s StoreStats) int64 { return s.PendingEvents }),
	storeGauge("etcd_mvcc_db_total_size_in_bytes", "Size of the database file.",
		func(s StoreStats) int64 { return s.DBBytes }),
	storeGauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of the database file without its free pages.",
		func(s StoreStats) int64 { return s.DBInUseBytes }),

	storeGauge("keelson_store_wal_bytes", "Size of SQLite's write-ahead log, which checkpoints empty.",
		func(s StoreStats) int64 { return s.WALBytes }),
	storeGauge("keelson_store_writer_backlog_bytes", "Bytes applied in memory that wait to be written to SQLite.",
		func(s StoreStats) int64 { return s.BacklogBytes }),
	storeGauge("keelson_store_writer_backlog_rows", "Rows applied in memory that wait to be written to SQLite.",
		func(s StoreStats) int64 { return s.BacklogRows }),
	{
		"keelson_store_writer_failing", "1 while SQLite does not take writes, 0 otherwise.", prometheus.GaugeValue,
		func(s StoreStats) float64 { return truth(s.WriterFailing) },
	},
	storeCounter("keelson_store_committed_rows_total", "Rows written to SQLite.",
		func(s StoreStats) int64 { return s.CommittedRows }),
	storeCounter("keelson_store_checkpoints_total", "Checkpoints of SQLite's write-ahead log.",
		func(s StoreStats) int64 { return s.Checkpoints }),
	storeGauge("keelson_store_pending_deletes", "Compacted rows that SQLite still has.",
		func(s StoreStats) int64 { return s.PendingDeletes }),
	storeCounter("keelson_store_vacuumed_pages_total", "Pages given back to the file system.",
		func(s StoreStats) int64 { return s.VacuumedPages }),
	storeGauge("keelson_store_cache_bytes", "Memory of values that SQLite has too.",
		func(s StoreStats) int64 { return s.CacheBytes }),
	storeCounter("keelson_store_cache_hits_total", "Values read from memory.",
		func(s StoreStats) int64 { return s.CacheHits }),
	storeCounter("keelson_store_cache_misses_total", "Values read from SQLite.",
		func(s StoreStats) int64 { return s.CacheMisses }),
	storeGauge("keelson_watch_backlog_bytes", "Bytes of events that wait to be sent.",
		func(s StoreStats) int64 { return s.WatchBacklogBytes }),
}

func storeGauge(name, help string, value func(StoreStats) int64) figure[StoreStats] {
	return figure[StoreStats]{name, help, prometheus.GaugeValue, func(s StoreStats) float64 { return float64(value(s)) }}
}

func storeCounter(name, help string, value func(StoreStats) int64) figure[StoreStats] {
	return figure[StoreStats]{name, help, prometheus.CounterValue, func(s StoreStats) float64 { return float64(value(s)) }}
}

// Store are the store's metrics.
type Store struct {
	// Ranges, Puts and Deletes count operations, those within transactions too; Txns counts requests
	// of more than one operation. PutBytes sums up keys and values that were put.
	Ranges, Puts, Deletes, Txns prometheus.Counter
	PutBytes                    prometheus.Gauge

	// CommitDuration is that of a transaction of SQLite, in seconds.
	CommitDuration prometheus.Histogram
	// DefragDuration is the time from a request until the last free page is given back, in seconds;
	// DefragInflight is 1 meanwhile.
	DefragDuration prometheus.Histogram
	DefragInflight prometheus.Gauge
	// SnapshotDuration is that of sending a snapshot, in seconds.
	SnapshotDuration prometheus.Histogram
	// HashDuration and HashRevDuration are those of Hash and HashKV, in seconds.
	HashDuration, HashRevDuration prometheus.Histogram

	// CompactionPause is how long one slice of a compaction held up apply, CompactionTotal how long
	// the whole took, both in milliseconds. LastCompaction is when the last ended, in Unix seconds.
	CompactionPause, CompactionTotal prometheus.Histogram
	LastCompaction                   prometheus.Gauge
}

// NewStore registers the store's metrics with reg. stats is called once a scrape.
func NewStore(reg prometheus.Registerer, stats func() StoreStats) *Store {
	register(reg, stats, storeFigures)
	f := newFactory(reg)
	return &Store{
		Ranges:   f.counter("etcd_mvcc_range_total", "Range operations."),
		Puts:     f.counter("etcd_mvcc_put_total", "Put operations."),
		Deletes:  f.counter("etcd_mvcc_delete_total", "Delete operations."),
		Txns:     f.counter("etcd_mvcc_txn_total", "Requests of more than one operation."),
		PutBytes: f.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Sum of the keys and values put."),
		CommitDuration: f.histogram("etcd_disk_backend_commit_duration_seconds",
			"Duration of a commit of the database.", doubling(.001, 14)),
		DefragDuration: f.histogram("etcd_disk_backend_defrag_duration_seconds",
			"Time until a defragmentation has given back the last free page.", doubling(.1, 13)),
		DefragInflight: f.gauge("etcd_disk_defrag_inflight", "1 during a defragmentation, 0 otherwise."),
		SnapshotDuration: f.histogram("etcd_disk_backend_snapshot_duration_seconds",
			"Duration of sending a snapshot of the database.", doubling(.01, 17)),
		HashDuration: f.histogram("etcd_mvcc_hash_duration_seconds",
			"Duration of hashing the database.", doubling(.01, 15)),
		HashRevDuration: f.histogram("etcd_mvcc_hash_rev_duration_seconds",
			"Duration of hashing the keys at a revision.", doubling(.01, 15)),
		CompactionPause: f.histogram("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
			"Time for which a slice of a compaction held up writes.", doubling(.5, 14)),
		CompactionTotal: f.histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
			"Time from a compaction's start to its end in the database.", doubling(100, 14)),
		LastCompaction: f.gauge("etcd_debugging_mvcc_db_compaction_last",
			"Unix time at which the last compaction since the start ended."),
	}
}
