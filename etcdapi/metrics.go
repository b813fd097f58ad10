// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/version"

	"keelson.io/keelson/metrics"
	"keelson.io/keelson/sqlstore/wire"
)

// serverMetrics are the metrics of requests, with those that every request
// touches looked up beforehand.
type serverMetrics struct {
	*metrics.Server
	rpc *rpcMetrics

	rangeRequest, readTxnRequest, rangeRead outcomes
	proposals                               map[wire.Kind]outcomes
	otherProposal                           outcomes
	applies                                 map[wire.Kind]outcomes
	otherApply                              outcomes
}

// proposedKinds are the requests that are proposed, with etcd's names of them.
var proposedKinds = map[wire.Kind]string{
	wire.KindPut:                  "Put",
	wire.KindDeleteRange:          "DeleteRange",
	wire.KindTxn:                  "Txn",
	wire.KindCompaction:           "Compaction",
	wire.KindLeaseGrant:           "LeaseGrant",
	wire.KindLeaseRevoke:          "LeaseRevoke",
	wire.KindLeaseCheckpoint:      "LeaseCheckpoint",
	wire.KindAlarm:                "Alarm",
	wire.KindClusterVersionSet:    "ClusterVersionSet",
	wire.KindClusterMemberAttrSet: "ClusterMemberAttrSet",

	wire.KindAuthenticate:             "Authenticate",
	wire.KindAuthEnable:               "AuthEnable",
	wire.KindAuthDisable:              "AuthDisable",
	wire.KindAuthStatus:               "AuthStatus",
	wire.KindAuthUserAdd:              "AuthUserAdd",
	wire.KindAuthUserDelete:           "AuthUserDelete",
	wire.KindAuthUserGet:              "AuthUserGet",
	wire.KindAuthUserChangePassword:   "AuthUserChangePassword",
	wire.KindAuthUserGrantRole:        "AuthUserGrantRole",
	wire.KindAuthUserRevokeRole:       "AuthUserRevokeRole",
	wire.KindAuthUserList:             "AuthUserList",
	wire.KindAuthRoleList:             "AuthRoleList",
	wire.KindAuthRoleAdd:              "AuthRoleAdd",
	wire.KindAuthRoleDelete:           "AuthRoleDelete",
	wire.KindAuthRoleGet:              "AuthRoleGet",
	wire.KindAuthRoleGrantPermission:  "AuthRoleGrantPermission",
	wire.KindAuthRoleRevokePermission: "AuthRoleRevokePermission",
}

func newServerMetrics(o *Options, memberID uint64) *serverMetrics {
	m := &serverMetrics{
		Server: metrics.NewServer(o.Registerer, metrics.ServerInfo{
			Version: o.Version, EtcdVersion: version.Version, MemberID: memberID, QuotaBytes: max(o.QuotaBackendBytes, 0),
		}),
		rpc:       newRPCMetrics(o.Registerer, o.Metrics),
		proposals: make(map[wire.Kind]outcomes),
		applies:   make(map[wire.Kind]outcomes),
	}
	m.rangeRead = outcomesOf(m.RangeDuration)
	m.rangeRequest = outcomesOf(m.RequestDuration, "Range")
	m.readTxnRequest = outcomesOf(m.RequestDuration, "ReadonlyTxn")
	m.otherProposal = outcomesOf(m.RequestDuration, "Unknown")
	for kind, name := range proposedKinds {
		m.proposals[kind] = outcomesOf(m.RequestDuration, name)
		m.applies[kind] = outcomesOf(m.ApplyDuration, "v3", name)
	}
	m.otherApply = outcomesOf(m.ApplyDuration, "v3", "Unknown")
	return m
}

func (m *serverMetrics) proposal(kind wire.Kind) outcomes {
	if o, ok := m.proposals[kind]; ok {
		return o
	}
	return m.otherProposal
}

// outcomes are the durations of one kind of work, by whether it succeeded.
type outcomes struct{ success, failure prometheus.Observer }

// outcomesOf looks up a histogram whose last label is success.
func outcomesOf(h *prometheus.HistogramVec, labels ...string) outcomes {
	with := func(success bool) prometheus.Observer {
		return h.WithLabelValues(append(labels[:len(labels):len(labels)], strconv.FormatBool(success))...)
	}
	return outcomes{success: with(true), failure: with(false)}
}

func (o outcomes) observe(took time.Duration, err error) {
	if err != nil {
		o.failure.Observe(took.Seconds())
		return
	}
	o.success.Observe(took.Seconds())
}
