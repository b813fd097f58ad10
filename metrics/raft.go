// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strconv"

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

// MemberStats are what the leader knows of one member of its cluster, itself included.
type MemberStats struct {
	ID uint64
	// Lag is the number of entries of the leader's log that the member is not known to have on disk.
	Lag uint64
	// Active: heard from within the last election timeout. Learner: it has no vote.
	Active, Learner bool
	// SnapshotPending: it is too far behind for entries, and is sent the whole state.
	SnapshotPending bool
}

// memberFigure is a metric of each member.
type memberFigure struct {
	name, help string
	value      func(MemberStats) float64
}

var memberFigures = []memberFigure{
	{
		"keelson_raft_member_lag_entries", "Entries of the leader's log that the member is not known to have on disk; told by the leader.",
		func(s MemberStats) float64 { return float64(s.Lag) },
	},
	{
		"keelson_raft_member_active", "1 if the leader heard from the member within the last election timeout, 0 if not; told by the leader.",
		func(s MemberStats) float64 { return truth(s.Active) },
	},
	{
		"keelson_raft_member_learner", "1 if the member has no vote, 0 if it has; told by the leader.",
		func(s MemberStats) float64 { return truth(s.Learner) },
	},
	{
		"keelson_raft_member_snapshot_pending", "1 while the leader sends the member its whole state, 0 otherwise; told by the leader.",
		func(s MemberStats) float64 { return truth(s.SnapshotPending) },
	},
}

// NewMembers registers what a leader knows of the members with reg, by id in hexadecimal. stats is called once a scrape,
// and returns nothing where this member does not lead: then there are no such metrics.
func NewMembers(reg prometheus.Registerer, stats func() []MemberStats) {
	if reg == nil {
		return
	}
	c := &members{read: stats}
	for _, f := range memberFigures {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, []string{"member"}, nil))
	}
	reg.MustRegister(c)
}

// members exports the figures of members.
type members struct {
	read  func() []MemberStats
	descs []*prometheus.Desc
}

// Describe sends the descriptions.
func (c *members) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		ch <- desc
	}
}

// Collect reads the figures and sends them.
func (c *members) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.read() {
		id := strconv.FormatUint(s.ID, 16)
		for i, f := range memberFigures {
			ch <- prometheus.MustNewConstMetric(c.descs[i], prometheus.GaugeValue, f.value(s), id)
		}
	}
}
