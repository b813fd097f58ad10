// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// RaftStats are the log's figures at one moment.
type RaftStats struct {
	// HasLeader: this member knows of a leader. IsLeader: it is the leader.
	HasLeader, IsLeader bool
	// Committed and Applied are the indexes of the last entries that are.
	Committed, Applied uint64
	// PendingProposals are neither applied nor failed yet.
	PendingProposals int64
}

// Raft are the log's metrics.
type Raft struct {
	LeaderChanges         prometheus.Counter
	ProposalsFailed       prometheus.Counter
	HeartbeatSendFailures prometheus.Counter
	SlowReadIndexes       prometheus.Counter
	ReadIndexesFailed     prometheus.Counter
}

// NewRaft registers the log's metrics with reg. stats is called once a scrape.
func NewRaft(reg prometheus.Registerer, stats func() RaftStats) *Raft {
	register(reg, stats, []figure[RaftStats]{
		{
			"etcd_server_has_leader", "1 if this member knows of a leader, 0 if not.", prometheus.GaugeValue,
			func(s RaftStats) float64 { return truth(s.HasLeader) },
		},
		{
			"etcd_server_is_leader", "1 if this member is the leader, 0 if not.", prometheus.GaugeValue,
			func(s RaftStats) float64 { return truth(s.IsLeader) },
		},
		{
			"etcd_server_proposals_committed_total", "Index of the last committed entry.", prometheus.GaugeValue,
			func(s RaftStats) float64 { return float64(s.Committed) },
		},
		{
			"etcd_server_proposals_applied_total", "Index of the last applied entry.", prometheus.GaugeValue,
			func(s RaftStats) float64 { return float64(s.Applied) },
		},
		{
			"etcd_server_proposals_pending", "Proposals that wait to be committed and applied.", prometheus.GaugeValue,
			func(s RaftStats) float64 { return float64(s.PendingProposals) },
		},
	})
	f := newFactory(reg)
	return &Raft{
		LeaderChanges: f.counter("etcd_server_leader_changes_seen_total",
			"Changes of leader that this member has seen."),
		ProposalsFailed: f.counter("etcd_server_proposals_failed_total",
			"Proposals that got an error instead of being applied."),
		HeartbeatSendFailures: f.counter("etcd_server_heartbeat_send_failures_total",
			"Heartbeats that the leader sent late."),
		SlowReadIndexes: f.counter("etcd_server_slow_read_indexes_total",
			"Reads for which a leader's confirmation did not come in time and was asked for again."),
		ReadIndexesFailed: f.counter("etcd_server_read_indexes_failed_total",
			"Linearizable reads that failed because no leader confirmed them."),
	}
}
