// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
)

// shownMembership tells etcd's own metrics of membership what the store has:
// etcd_network_known_peers, etcd_server_is_learner and etcd_cluster_version.
// One goroutine uses it.
type shownMembership struct {
	*core
	version string // of the cluster, as it was shown last
}

func (m *shownMembership) show() {
	cluster := clusterOf(m.store, &Options{Logger: zap.NewNop()})
	cluster.SetID(types.ID(m.memberID), types.ID(m.clusterID))
	if own := cluster.Member(types.ID(m.memberID)); own != nil {
		// A member that the backend has already changes nothing but the metric.
		cluster.AddMember(own, membership.ApplyV2storeOnly)
	}
	agreed := m.store.ClusterVersion()
	if agreed == m.version {
		return
	}
	if m.version != "" {
		membership.ClusterVersionMetrics.WithLabelValues(version.Cluster(m.version)).Set(0)
	}
	if agreed != "" {
		membership.ClusterVersionMetrics.WithLabelValues(version.Cluster(agreed)).Set(1)
	}
	m.version = agreed
}
