// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
)

// showMembers tells etcd's own metrics of membership who is there:
// etcd_network_known_peers and etcd_server_is_learner.
func (s *Server) showMembers() {
	cluster := clusterOf(s.store, &Options{Logger: zap.NewNop(), MaxLearners: s.opts.MaxLearners})
	cluster.SetID(types.ID(s.memberID), types.ID(s.clusterID))
	if own := cluster.Member(types.ID(s.memberID)); own != nil {
		// A member that the backend has already changes nothing but the metric.
		cluster.AddMember(own, membership.ApplyV2storeOnly)
	}
}
