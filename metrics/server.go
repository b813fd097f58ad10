// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"math"
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
)

// ServerInfo is what does not change while a server runs.
type ServerInfo struct {
	// Version is keelson's, EtcdVersion that of the etcd whose behaviour is kept.
	Version, EtcdVersion string
	// MemberID in the cluster.
	MemberID uint64
	// QuotaBytes is the size of the store from which on writes are refused; 0: no quota.
	QuotaBytes int64
}

// Server are the metrics of requests.
type Server struct {
	// RequestDuration is by type, the name of the field of etcd's InternalRaftRequest or "Range" or
	// "ReadonlyTxn", and success, "true" or "false"; in seconds.
	RequestDuration *prometheus.HistogramVec
	// ApplyDuration is by version ("v3"), op and success, in seconds; entries that are applied together
	// share the time evenly. RangeDuration is by success.
	ApplyDuration, RangeDuration *prometheus.HistogramVec
	// SlowApplies took longer than the server's warning threshold.
	SlowApplies prometheus.Counter
	// ClientRequests is by type, "unary" or "stream", and client_api_version, which the caller bounds.
	ClientRequests *prometheus.CounterVec
	// StreamFailures is by Type, "send" or "receive", and API, "watch" or "lease-keepalive".
	StreamFailures *prometheus.CounterVec
	// ClientSentBytes and ClientReceivedBytes are those of gRPC.
	ClientSentBytes, ClientReceivedBytes prometheus.Counter

	// HealthSuccesses and HealthFailures count answers of /health.
	HealthSuccesses, HealthFailures prometheus.Counter
	// HealthCheck is the last result of a check of /livez and /readyz, by type and name; HealthChecks
	// counts them, by status too, "success" or "error".
	HealthCheck  *prometheus.GaugeVec
	HealthChecks *prometheus.CounterVec
	// LearnerPromotions count those that this member, as the leader, made; LearnerPromoteFailures those
	// that it refused, by Reason, an error's text out of a fixed set.
	LearnerPromotions      prometheus.Counter
	LearnerPromoteFailures *prometheus.CounterVec
	// SnapshotApplying is 1 while another member's state takes the place of this one's.
	SnapshotApplying prometheus.Gauge
	// RangeBytesInFlight are those of answers to lists that clients have not taken, RangeWaits the lists
	// that waited for that.
	RangeBytesInFlight prometheus.Gauge
	RangeWaits         prometheus.Counter
	// Alarms is 1 while an alarm is active, by server_id in hexadecimal and alarm_type.
	Alarms *prometheus.GaugeVec
}

// NewServer registers the metrics of requests and of the process with reg.
func NewServer(reg prometheus.Registerer, info ServerInfo) *Server {
	f := newFactory(reg)
	registerInfo(f, info)
	registerFileDescriptors(f)
	return &Server{
		RequestDuration: f.histograms("etcd_server_request_duration_seconds",
			"Duration of requests until they are answered.", doubling(.001, 14), "type", "success"),
		ApplyDuration: f.histograms("etcd_server_apply_duration_seconds",
			"Duration of applying requests.", doubling(.0001, 20), "version", "op", "success"),
		RangeDuration: f.histograms("etcd_server_range_duration_seconds",
			"Duration of ranges.", doubling(.0001, 20), "success"),
		SlowApplies: f.counter("etcd_server_slow_apply_total", "Requests that were slow to apply."),
		ClientRequests: f.counters("etcd_server_client_requests_total",
			"Requests by version of the client.", "type", "client_api_version"),
		StreamFailures: f.counters("etcd_network_server_stream_failures_total",
			"Streams that failed here.", "Type", "API"),
		ClientSentBytes:     f.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to gRPC clients."),
		ClientReceivedBytes: f.counter("etcd_network_client_grpc_received_bytes_total", "Bytes received from gRPC clients."),
		HealthSuccesses:     f.counter("etcd_server_health_success", "Health checks answered that all is well."),
		HealthFailures:      f.counter("etcd_server_health_failures", "Health checks answered that something is wrong."),
		HealthCheck:         f.gauges("etcd_server_healthcheck", "1 if the check passed when last run, 0 if not.", "type", "name"),
		HealthChecks:        f.counters("etcd_server_healthchecks_total", "Checks run.", "type", "name", "status"),
		LearnerPromotions: f.counter("etcd_server_learner_promote_successes",
			"Learners made voters while this member led."),
		LearnerPromoteFailures: f.counters("etcd_server_learner_promote_failures",
			"Learners that were not made voters while this member led.", "Reason"),
		SnapshotApplying: f.gauge("etcd_server_snapshot_apply_in_progress_total",
			"1 while a received snapshot is applied, 0 otherwise."),
		RangeBytesInFlight: f.gauge("keelson_range_bytes_in_flight", "Bytes of answers to lists that clients have not taken yet."),
		RangeWaits:         f.counter("keelson_range_waits_total", "Lists that waited for others to be taken."),
		Alarms:             f.gauges("etcd_debugging_server_alarms", "1 while the alarm is active.", "server_id", "alarm_type"),
	}
}

// registerInfo defines the gauges that say what runs here.
func registerInfo(f factory, info ServerInfo) {
	one := func(name, help, label, value string) {
		f.gauges(name, help, label).WithLabelValues(value).Set(1)
	}
	one("etcd_server_version", "1 for the version of etcd whose behaviour is kept.", "server_version", info.EtcdVersion)
	one("etcd_server_go_version", "1 for the version of Go that the server was built with.", "server_go_version", runtime.Version())
	one("etcd_server_id", "1 for this member's id in hexadecimal.", "server_id", strconv.FormatUint(info.MemberID, 16))
	one("keelson_build_info", "1 for the version of keelson.", "version", info.Version)
	f.gauge("etcd_server_quota_backend_bytes",
		"Size of the store from which on writes are refused; 0 for none.").Set(float64(info.QuotaBytes))
}

// registerFileDescriptors defines the gauges of the process's open files. They are not a number where
// the system does not tell.
func registerFileDescriptors(f factory) {
	f.gaugeFunc("os_fd_used", "Open file descriptors.", func() float64 {
		self, err := procfs.Self()
		if err != nil {
			return math.NaN()
		}
		used, err := self.FileDescriptorsLen()
		if err != nil {
			return math.NaN()
		}
		return float64(used)
	})
	f.gaugeFunc("os_fd_limit", "Most file descriptors that may be open.", func() float64 {
		self, err := procfs.Self()
		if err != nil {
			return math.NaN()
		}
		limits, err := self.Limits()
		if err != nil {
			return math.NaN()
		}
		return float64(limits.OpenFiles)
	})
}
