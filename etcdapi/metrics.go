// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"strconv"
	"sync"
	"time"

	grpcprometheus "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"

	"keelson.io/keelson/sqlstore/wire"
)

// serverMetrics are etcd's metrics of what this package does, on the default
// registry, where etcd's own packages put theirs. All servers of a process
// share them.
type serverMetrics struct {
	rangeRequest, readTxnRequest requestDurations
	proposals                    map[wire.Kind]requestDurations
	otherProposal                requestDurations

	slowApplies    prometheus.Counter
	clientRequests *prometheus.CounterVec
	streamFailures *prometheus.CounterVec
	sentBytes      prometheus.Counter
	receivedBytes  prometheus.Counter
	quotaBytes     prometheus.Gauge
	serverID       *prometheus.GaugeVec

	leasesExpired, leasesRenewed  prometheus.Counter
	leasesGranted, leasesRevoked  prometheus.Counter
	leaseTTLs                     prometheus.Histogram
	healthSuccess, healthFailures prometheus.Counter
	healthChecks                  *prometheus.GaugeVec
	healthChecksTotal             *prometheus.CounterVec
}

var sharedMetrics = sync.OnceValue(func() *serverMetrics {
	m := newServerMetrics()
	prometheus.MustRegister(
		m.slowApplies, m.clientRequests, m.streamFailures, m.sentBytes, m.receivedBytes, m.quotaBytes, m.serverID,
		m.leasesExpired, m.leasesRenewed, m.leasesGranted, m.leasesRevoked, m.leaseTTLs,
		m.healthSuccess, m.healthFailures, m.healthChecks, m.healthChecksTotal,
	)
	m.registerDurations()
	return m
})

func newServerMetrics() *serverMetrics {
	const server, network, lease = "etcd_server_", "etcd_network_", "etcd_debugging_lease_"
	return &serverMetrics{
		slowApplies:    counter(server+"slow_apply_total", "The total number of slow reads and applied batches."),
		clientRequests: counters(server+"client_requests_total", "The total number of client requests per client version.", "type", "client_api_version"),
		streamFailures: counters(network+"server_stream_failures_total", "The total number of stream failures from the local server.", "Type", "API"),
		sentBytes:      counter(network+"client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients."),
		receivedBytes:  counter(network+"client_grpc_received_bytes_total", "The total number of bytes received from grpc clients."),
		quotaBytes:     gauge(server+"quota_backend_bytes", "Current backend storage quota size in bytes."),
		serverID:       gauges(server+"id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", "server_id"),

		leasesExpired: counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases."),
		leasesRenewed: counter(lease+"renewed_total", "The number of renewed leases seen by the leader."),
		leasesGranted: counter(lease+"granted_total", "The total number of granted leases."),
		leasesRevoked: counter(lease+"revoked_total", "The total number of revoked leases."),
		leaseTTLs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: lease + "ttl_total", Help: "Bucketed histogram of lease TTLs.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 24), // a second to three months
		}),

		healthSuccess:     counter(server+"health_success", "The total number of successful health checks"),
		healthFailures:    counter(server+"health_failures", "The total number of failed health checks"),
		healthChecks:      gauges(server+"healthcheck", "The result of each kind of healthcheck.", "type", "name"),
		healthChecksTotal: counters(server+"healthchecks_total", "The total number of each kind of healthcheck.", "type", "name", "status"),
	}
}

// proposedKinds are the requests that clients make, with etcd's names of them.
var proposedKinds = map[wire.Kind]string{
	wire.KindPut:             "Put",
	wire.KindDeleteRange:     "DeleteRange",
	wire.KindTxn:             "Txn",
	wire.KindCompaction:      "Compaction",
	wire.KindLeaseGrant:      "LeaseGrant",
	wire.KindLeaseRevoke:     "LeaseRevoke",
	wire.KindLeaseCheckpoint: "LeaseCheckpoint",
	wire.KindAlarm:           "Alarm",
}

func (m *serverMetrics) registerDurations() {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "etcd_server_request_duration_seconds",
		Help:    "Response latency distribution in seconds for each type.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // 1 ms to 8 s
	}, []string{"type", "success"})
	prometheus.MustRegister(durations)
	of := func(name string) requestDurations {
		return requestDurations{
			success: durations.WithLabelValues(name, strconv.FormatBool(true)),
			failure: durations.WithLabelValues(name, strconv.FormatBool(false)),
		}
	}
	m.rangeRequest, m.readTxnRequest, m.otherProposal = of("Range"), of("ReadonlyTxn"), of("Unknown")
	m.proposals = make(map[wire.Kind]requestDurations, len(proposedKinds))
	for kind, name := range proposedKinds {
		m.proposals[kind] = of(name)
	}
}

func (m *serverMetrics) proposal(kind wire.Kind) requestDurations {
	if d, ok := m.proposals[kind]; ok {
		return d
	}
	return m.otherProposal
}

// requestDurations are one type of request's durations.
type requestDurations struct{ success, failure prometheus.Observer }

func (d requestDurations) observe(took time.Duration, err error) {
	if err != nil {
		d.failure.Observe(took.Seconds())
		return
	}
	d.success.Observe(took.Seconds())
}

// rpcMetrics are the grpc_server_* metrics, with histograms if the first server
// of the process wants them.
var rpcMetrics struct {
	once sync.Once
	*grpcprometheus.ServerMetrics
}

func sharedRPCMetrics(detail string) *grpcprometheus.ServerMetrics {
	rpcMetrics.once.Do(func() {
		var opts []grpcprometheus.ServerMetricsOption
		if detail == extensiveMetrics {
			opts = append(opts, grpcprometheus.WithServerHandlingTimeHistogram())
		}
		rpcMetrics.ServerMetrics = grpcprometheus.NewServerMetrics(opts...)
		prometheus.MustRegister(rpcMetrics.ServerMetrics)
	})
	return rpcMetrics.ServerMetrics
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}
