// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi/compactor"
)

// Options of a Server. The zero value of a field stands for its default, which
// is etcd's unless said otherwise.
type Options struct {
	// Clock is where all time comes from. Default: the machine's.
	Clock clockwork.Clock
	// Logger takes what operators should know. Default: none.
	Logger *zap.Logger

	// Name and ClientURLs are published to the cluster as this member's.
	Name       string
	ClientURLs []string

	// ElectionTimeout is the log's; timeouts of requests and leases follow from
	// it. Default: 1 second.
	ElectionTimeout time.Duration
	// MaxRequestBytes is the largest entry that is proposed. gRPC messages may be
	// 512 KiB larger. Default: 1.5 MiB.
	MaxRequestBytes int
	// MaxTxnOps is the most compares, successes or failures on one path through a
	// transaction. Default: 128.
	MaxTxnOps int
	// MaxConcurrentStreams is the most requests at a time on one connection.
	// Default: math.MaxUint32.
	MaxConcurrentStreams uint32
	// RangeBytesInFlight bounds the answers to lists that are in memory, from when they
	// are read until clients have taken them. A single one may be larger. Default: 1 GiB;
	// etcd has no bound.
	RangeBytesInFlight int64
	// QuotaBackendBytes is the space at which writes are refused and the NOSPACE
	// alarm is raised. Negative: no quota. Default: 2 GiB.
	QuotaBackendBytes int64
	// QuotaAsEtcd makes no exceptions for what Kubernetes can't go without when space
	// is out, and leaves the alarm raised until an operator disarms it.
	QuotaAsEtcd bool
	// SnapshotStreams is how many clients are sent a snapshot at a time; others wait.
	// Each takes as much disk space as the store. Default: 2.
	SnapshotStreams int
	// ClientStallTimeout is how long such a client may take nothing before its stream
	// is ended, and one that holds up others' lists before its connection is cut.
	// Default: 1 minute; etcd has no limit.
	ClientStallTimeout time.Duration
	// AutoCompaction says what of the history the server keeps by itself. Default:
	// everything.
	AutoCompaction compactor.Retention
	// CompactHashCheckInterval is the time between two comparisons of the members'
	// hashes of compactions. Negative: none. Default: 1 minute.
	CompactHashCheckInterval time.Duration
	// DowngradeCheckInterval is the time between two looks whether a downgrade is
	// done. Negative: none. Default: 5 seconds.
	DowngradeCheckInterval time.Duration
	// CorruptCheckTime is the time between two comparisons of the members' whole
	// histories. Default: none.
	CorruptCheckTime time.Duration
	// WatchProgressInterval is the time between progress notifications of a watch
	// that asks for them, at least 100 ms; up to a tenth is added by chance.
	// Default: 10 minutes.
	WatchProgressInterval time.Duration

	// StrictReconfig says what changes of membership are refused. Default:
	// RefuseUnsafe.
	StrictReconfig StrictReconfig
	// MaxLearners is the most learners at a time. As in etcd it decides what apply
	// does, so it must be the same on all members. Default: 1.
	MaxLearners int

	// KeepAliveMinTime is the shortest interval of a client's pings that is
	// tolerated. Default: 5 seconds.
	KeepAliveMinTime time.Duration
	// KeepAliveInterval is the idle time after which a client is pinged.
	// Default: 2 hours.
	KeepAliveInterval time.Duration
	// KeepAliveTimeout is how long its answer may take. Default: 20 seconds.
	KeepAliveTimeout time.Duration
	// FirstBytesTimeout is how long a new connection may take to show whether it
	// speaks gRPC or HTTP. Default: 10 seconds; etcd has no limit.
	FirstBytesTimeout time.Duration
	// StreamWorkers is the number of goroutines that are kept for requests.
	// Default: 64 times GOMAXPROCS.
	StreamWorkers uint32

	// WarningApplyDuration is the time from which applying, or a read, is logged
	// as slow. Default: 100 ms.
	WarningApplyDuration time.Duration
	// WarningUnaryRequestDuration is the time from which a request is logged as
	// slow. Default: 300 ms.
	WarningUnaryRequestDuration time.Duration
	// Metrics is "basic", or "extensive" for histograms of gRPC methods.
	// Default: basic.
	Metrics string
	// Registerer takes the metrics, Gatherer gives what /metrics serves. Default:
	// the default registry, where etcd's packages have theirs.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// Version is keelson's own, for its metric. Default: unknown.
	Version string
	// DisableGateway leaves out the JSON gateway.
	DisableGateway bool
	// CORS are the origins whose web pages may read answers, HostWhitelist the hosts
	// for which HTTP requests without TLS may be. "*" is any. Default: any.
	CORS, HostWhitelist []string
	// TracerProvider makes spans of calls and requests. Default: none are made.
	TracerProvider trace.TracerProvider
	// Profiling serves /debug/pprof.
	Profiling bool
}

// StrictReconfig is a way to take changes of membership (--strict-reconfig-check).
type StrictReconfig int

const (
	// RefuseUnsafe refuses changes after which a quorum might be missing.
	RefuseUnsafe StrictReconfig = iota
	// AllowUnsafe refuses only what is impossible.
	AllowUnsafe
)

const (
	minWatchProgressInterval = 100 * time.Millisecond
	// grpcOverheadBytes is the room for what surrounds an entry in a gRPC message.
	grpcOverheadBytes = 512 << 10
	basicMetrics      = "basic"
	extensiveMetrics  = "extensive"
)

// SetDefaults fills in what is zero.
func (o *Options) SetDefaults() {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	setDefault(&o.ElectionTimeout, time.Second)
	setDefault(&o.MaxRequestBytes, 1536<<10)
	setDefault(&o.MaxTxnOps, 128)
	setDefault(&o.MaxConcurrentStreams, math.MaxUint32)
	setDefault(&o.RangeBytesInFlight, 1<<30)
	setDefault(&o.QuotaBackendBytes, 2<<30)
	setDefault(&o.SnapshotStreams, 2)
	setDefault(&o.ClientStallTimeout, time.Minute)
	setDefault(&o.CompactHashCheckInterval, time.Minute)
	setDefault(&o.DowngradeCheckInterval, 5*time.Second)
	setDefault(&o.MaxLearners, membership.DefaultMaxLearners)
	setDefault(&o.WatchProgressInterval, 10*time.Minute)
	o.WatchProgressInterval = max(o.WatchProgressInterval, minWatchProgressInterval)
	setDefault(&o.KeepAliveMinTime, 5*time.Second)
	setDefault(&o.KeepAliveInterval, 2*time.Hour)
	setDefault(&o.KeepAliveTimeout, 20*time.Second)
	setDefault(&o.FirstBytesTimeout, 10*time.Second)
	setDefault(&o.StreamWorkers, uint32(64*runtime.GOMAXPROCS(0)))
	setDefault(&o.WarningApplyDuration, 100*time.Millisecond)
	setDefault(&o.WarningUnaryRequestDuration, 300*time.Millisecond)
	setDefault(&o.Metrics, basicMetrics)
	setDefault(&o.Version, "unknown")
	if o.Registerer == nil {
		o.Registerer = prometheus.DefaultRegisterer
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.DefaultGatherer
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports all faults at once. It expects defaults to be set.
func (o *Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for name, d := range map[string]time.Duration{
		"ElectionTimeout":             o.ElectionTimeout,
		"CorruptCheckTime":            o.CorruptCheckTime,
		"ClientStallTimeout":          o.ClientStallTimeout,
		"WatchProgressInterval":       o.WatchProgressInterval,
		"KeepAliveMinTime":            o.KeepAliveMinTime,
		"KeepAliveInterval":           o.KeepAliveInterval,
		"KeepAliveTimeout":            o.KeepAliveTimeout,
		"FirstBytesTimeout":           o.FirstBytesTimeout,
		"WarningApplyDuration":        o.WarningApplyDuration,
		"WarningUnaryRequestDuration": o.WarningUnaryRequestDuration,
	} {
		if d < 0 {
			fault("%s %v is negative", name, d)
		}
	}
	if o.MaxRequestBytes < 0 || o.MaxRequestBytes > math.MaxInt32-grpcOverheadBytes {
		fault("MaxRequestBytes %d is not between 1 and %d", o.MaxRequestBytes, math.MaxInt32-grpcOverheadBytes)
	}
	if o.SnapshotStreams < 0 {
		fault("SnapshotStreams %d is negative", o.SnapshotStreams)
	}
	if o.RangeBytesInFlight < 0 {
		fault("RangeBytesInFlight %d is negative", o.RangeBytesInFlight)
	}
	if o.MaxLearners < 0 {
		fault("MaxLearners %d is negative", o.MaxLearners)
	}
	if o.MaxTxnOps < 0 {
		fault("MaxTxnOps %d is negative", o.MaxTxnOps)
	}
	if o.Metrics != basicMetrics && o.Metrics != extensiveMetrics {
		fault("Metrics %q is neither %q nor %q", o.Metrics, basicMetrics, extensiveMetrics)
	}
	return errors.Join(faults...)
}

// requestTimeout bounds a proposal: five seconds for queues, disk and apply,
// and two election timeouts in case a leader has to be found.
func (o *Options) requestTimeout() time.Duration {
	return 5*time.Second + 2*o.ElectionTimeout
}

// maxMessageBytes is the largest gRPC message that is taken.
func (o *Options) maxMessageBytes() int { return o.MaxRequestBytes + grpcOverheadBytes }
