// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	// What a server links and what registers metrics by that.
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	_ "go.etcd.io/etcd/server/v3/storage/wal"
)

// registerAll defines every metric with reg and uses those with labels once, so that they show.
func registerAll(reg prometheus.Registerer) {
	NewRaft(reg, func() RaftStats { return RaftStats{HasLeader: true, Committed: 7, Applied: 6} })
	NewStore(reg, func() StoreStats { return StoreStats{Keys: 3, Revision: 9, CacheHits: 4, WriterFailing: true} })
	NewMembers(reg, func() []MemberStats { return []MemberStats{{ID: 0xbeef, Lag: 12, Active: true}} })
	NewLeases(reg)
	NewFeatures(reg).WithLabelValues("AllAlpha", "ALPHA")
	s := NewServer(reg, ServerInfo{Version: "1.2.3", EtcdVersion: "3.7.3", MemberID: 0xbeef, QuotaBytes: 1 << 31})
	s.RequestDuration.WithLabelValues("Range", "true")
	s.ApplyDuration.WithLabelValues("v3", "Put", "true")
	s.RangeDuration.WithLabelValues("true")
	s.ClientRequests.WithLabelValues("unary", "3.7")
	s.StreamFailures.WithLabelValues("send", "watch")
	s.LearnerPromoteFailures.WithLabelValues("not ready")
	s.HealthCheck.WithLabelValues("livez", "serializable_read")
	s.HealthChecks.WithLabelValues("livez", "serializable_read", "success")
	s.Alarms.WithLabelValues("beef", "NOSPACE")
}

// export is what a test compares of a metric.
type export struct{ kind, labels, buckets string }

func exports(t *testing.T, g prometheus.Gatherer) map[string]export {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]export)
	for _, family := range families {
		all[family.GetName()] = describe(family)
	}
	return all
}

func describe(family *dto.MetricFamily) export {
	e := export{kind: strings.ToLower(family.GetType().String()), labels: "-", buckets: "-"}
	var labels, buckets []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		labels = append(labels, label.GetName())
	}
	for _, bucket := range family.GetMetric()[0].GetHistogram().GetBucket() {
		buckets = append(buckets, strconv.FormatFloat(bucket.GetUpperBound(), 'g', -1, 64))
	}
	if labels != nil {
		slices.Sort(labels)
		e.labels = strings.Join(labels, ",")
	}
	if buckets != nil {
		e.buckets = strings.Join(buckets, ",")
	}
	return e
}

// etcdExports reads what an etcd server exports.
func etcdExports(t *testing.T) map[string]export {
	t.Helper()
	data, err := os.ReadFile("testdata/etcd-3.7.3.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]export)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] != "#" {
			all[f[0]] = export{f[1], f[2], f[3]}
		}
	}
	if len(all) < 60 {
		t.Fatalf("only %d metrics in testdata", len(all))
	}
	return all
}

// TestEtcdNamesMeanWhatEtcdMeans compares every metric that bears a name of etcd's.
func TestEtcdNamesMeanWhatEtcdMeans(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	registerAll(reg)
	// etcd shows these only once something went wrong, or a kind of check was asked for.
	unseen := []string{
		"etcd_debugging_server_alarms", "etcd_network_server_stream_failures_total",
		"etcd_server_healthcheck", "etcd_server_healthchecks_total", "etcd_server_learner_promote_failures",
	}
	want := etcdExports(t)
	for name, got := range exports(t, reg) {
		if strings.HasPrefix(name, "keelson_") || slices.Contains(unseen, name) {
			continue
		}
		if w, ok := want[name]; !ok {
			t.Errorf("%s: etcd has no such metric", name)
		} else if got != w {
			t.Errorf("%s:\n%+v, etcd has\n%+v", name, got, w)
		}
	}
}

// TestContract registers everything beside what etcd's packages register and looks for the names
// that dashboards and alerts use.
func TestContract(t *testing.T) {
	registerAll(prometheus.DefaultRegisterer)
	got := exports(t, prometheus.DefaultGatherer)
	for _, name := range strings.Fields(`
		etcd_server_has_leader etcd_server_is_leader etcd_server_leader_changes_seen_total
		etcd_server_proposals_committed_total etcd_server_proposals_applied_total
		etcd_server_proposals_pending etcd_server_proposals_failed_total etcd_server_quota_backend_bytes
		etcd_server_slow_apply_total etcd_server_slow_read_indexes_total etcd_server_read_indexes_failed_total
		etcd_server_health_success etcd_server_health_failures etcd_server_version etcd_server_id
		etcd_server_request_duration_seconds etcd_disk_wal_fsync_duration_seconds
		etcd_disk_wal_write_bytes_total etcd_disk_backend_commit_duration_seconds
		etcd_disk_backend_snapshot_duration_seconds etcd_disk_backend_defrag_duration_seconds
		etcd_network_client_grpc_sent_bytes_total etcd_network_client_grpc_received_bytes_total
		etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes etcd_mvcc_put_total
		etcd_mvcc_delete_total etcd_mvcc_range_total etcd_mvcc_txn_total etcd_debugging_mvcc_keys_total
		etcd_debugging_mvcc_watcher_total etcd_debugging_mvcc_slow_watcher_total
		etcd_debugging_mvcc_watch_stream_total etcd_debugging_mvcc_events_total
		etcd_debugging_mvcc_pending_events_total etcd_debugging_mvcc_db_compaction_keys_total
		os_fd_used os_fd_limit go_goroutines process_resident_memory_bytes
		keelson_store_cache_bytes keelson_store_writer_backlog_bytes keelson_watch_backlog_bytes`) {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is not exported", name)
		}
	}
}

func TestStatsAreExported(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	registerAll(reg)
	const want = `
# HELP etcd_server_has_leader 1 if this member knows of a leader, 0 if not.
# TYPE etcd_server_has_leader gauge
etcd_server_has_leader 1
# HELP etcd_server_is_leader 1 if this member is the leader, 0 if not.
# TYPE etcd_server_is_leader gauge
etcd_server_is_leader 0
# HELP etcd_server_proposals_committed_total Index of the last committed entry.
# TYPE etcd_server_proposals_committed_total gauge
etcd_server_proposals_committed_total 7
# HELP etcd_server_id 1 for this member's id in hexadecimal.
# TYPE etcd_server_id gauge
etcd_server_id{server_id="beef"} 1
# HELP keelson_store_cache_hits_total Values read from memory.
# TYPE keelson_store_cache_hits_total counter
keelson_store_cache_hits_total 4
# HELP keelson_raft_member_lag_entries Entries of the leader's log that the member is not known to have on disk; told by the leader.
# TYPE keelson_raft_member_lag_entries gauge
keelson_raft_member_lag_entries{member="beef"} 12
# HELP keelson_store_writer_failing 1 while SQLite does not take writes, 0 otherwise.
# TYPE keelson_store_writer_failing gauge
keelson_store_writer_failing 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "etcd_server_has_leader", "etcd_server_is_leader",
		"etcd_server_proposals_committed_total", "etcd_server_id", "keelson_store_cache_hits_total",
		"keelson_store_writer_failing", "keelson_raft_member_lag_entries"); err != nil {
		t.Error(err)
	}
}

func TestWithoutRegisterer(t *testing.T) {
	registerAll(nil)
	leases := NewLeases(nil)
	leases.Granted.Inc()
	if got := testutil.ToFloat64(leases.Granted); got != 1 {
		t.Errorf("granted %v", got)
	}
}

func TestLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	registerAll(reg)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "keelson_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
