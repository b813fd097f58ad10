// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxVitalBytes is the most that a vital write may put. Lease objects have a few hundred bytes.
const maxVitalBytes = 8 << 10

// vitalNamespaces hold the Lease objects by which nodes say that they live, and controllers agree who leads.
var vitalNamespaces = map[string]bool{"kube-node-lease": true, "kube-system": true}

// Vital reports whether a transaction is one that a cluster can't go without for long, and that takes no space which
// the next compaction does not give back: the renewal of a Lease object of a node or a controller, and the record by
// which API servers agree who compacts. Without the first all nodes are taken for dead within a minute, and without
// the second nothing is compacted.
func Vital(r *pb.TxnRequest) bool {
	switch Classify(r) {
	case ShapeCompactRecord:
	case ShapeUpdate:
		if k, ok := Parse(string(r.GetCompare()[0].GetKey())); !ok || k.Resource != "leases" || !vitalNamespaces[k.Namespace] {
			return false
		}
	default:
		return false
	}
	return len(r.GetSuccess()[0].GetRequestPut().GetValue()) <= maxVitalBytes
}
