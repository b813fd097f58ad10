// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// update is how kube-apiserver changes an object that it has read at a revision; 0 creates it.
func update(key string, revision int64, value []byte) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
	}
}

func TestVital(t *testing.T) {
	record := update(compactKey, 0, []byte("812"))
	record.Compare[0].Target, record.Compare[0].TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: 4}
	two := update("/registry/leases/kube-node-lease/n1", 7, nil)
	two.Success = append(two.Success, two.Success[0])
	for name, tc := range map[string]struct {
		txn  *pb.TxnRequest
		want bool
	}{
		"a node's lease":               {update("/registry/leases/kube-node-lease/n1", 7, []byte("lease")), true},
		"under another prefix":         {update("/k8s/east/leases/kube-node-lease/n1", 7, []byte("lease")), true},
		"the controller manager's":     {update("/registry/leases/kube-system/kube-controller-manager", 7, []byte("lease")), true},
		"the record of the compactor":  {record, true},
		"a new node's lease":           {update("/registry/leases/kube-node-lease/n1", 0, []byte("lease")), false},
		"somebody's lease":             {update("/registry/leases/default/n1", 7, []byte("lease")), false},
		"a lease that has grown":       {update("/registry/leases/kube-node-lease/n1", 7, make([]byte, maxVitalBytes+1)), false},
		"a node":                       {update("/registry/minions/n1", 7, []byte("node")), false},
		"a pod that is called so":      {update("/registry/pods/kube-node-lease/leases", 7, []byte("pod")), false},
		"two writes":                   {two, false},
		"the empty transaction":        {&pb.TxnRequest{}, false},
		"a key that is not Kubernetes": {update("leases/kube-node-lease", 7, nil), false},
	} {
		if got := Vital(tc.txn); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
