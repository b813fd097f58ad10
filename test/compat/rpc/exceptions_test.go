// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

// unusedFields are those that no script can use, by name, with the reason.
var unusedFields = map[string]string{}

const neverSet = "etcd's server never sets it"

// unansweredFields are those that no response has.
var unansweredFields = map[string]string{
	"etcdserverpb.DefragmentResponse.header": neverSet,
	"etcdserverpb.MoveLeaderResponse.header": neverSet,
	"etcdserverpb.SnapshotResponse.header":   neverSet,
	"etcdserverpb.LeaseGrantResponse.error":  neverSet,
}

const (
	neverAnswered = "etcd's server never answers it"
	byChance      = "the moment decides; etcdapi's tests of leaders that are lost have it"
	ended         = "the client has gone, or given up, when it is answered"
)

// otherErrors are those that the scripts don't come to.
var otherErrors = map[string]string{
	"etcdserver: cluster ID mismatch":                                            neverAnswered,
	"etcdserver: cluster version not found during downgrade":                     "the cluster's version is known before clients are served",
	"etcdserver: no inflight downgrade job":                                      neverAnswered,
	"etcdserver: not capable":                                                    "of clusters older than 3.0",
	"etcdserver: invalid client api version":                                     "grpc's client does not send what is not UTF-8",
	"etcdserver: too many requests":                                              "etcd answers it with 5000 entries committed and not applied",
	"etcdserver: revision of auth store is old":                                  "etcd tries such a request again by itself",
	"etcdserver: leader changed":                                                 byChance,
	"etcdserver: request timed out, possibly due to previous leader failure":     byChance,
	"etcdserver: request timed out, possibly due to connection lost":             byChance,
	"etcdserver: request timed out, waiting for the applied index took too long": byChance,
	"etcdserver: server stopped":                                                 byChance,
	"etcdserver: request canceled":                                               ended,
	"etcdserver: context deadline exceeded":                                      ended,
	"etcdserver: watch canceled":                                                 ended,
}
