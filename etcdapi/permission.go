// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// requirement is who may call a method while authentication is enabled.
type requirement int

const (
	// asItSays leaves it to the method, or to apply.
	asItSays requirement = iota
	someUser
	adminOnly
)

// requirements are those of the methods that are about no key in particular. The
// others ask for the keys that they touch: the services of KV, Watch and Lease when
// they read, since elections and locks come to them from within the process, and
// apply when it writes.
var requirements = map[string]requirement{
	pb.KV_Compact_FullMethodName: adminOnly,

	pb.Cluster_MemberAdd_FullMethodName:     adminOnly,
	pb.Cluster_MemberRemove_FullMethodName:  adminOnly,
	pb.Cluster_MemberUpdate_FullMethodName:  adminOnly,
	pb.Cluster_MemberPromote_FullMethodName: adminOnly,
	pb.Cluster_MemberList_FullMethodName:    someUser,

	pb.Maintenance_Alarm_FullMethodName:      adminOnly, // to list them: someUser
	pb.Maintenance_Status_FullMethodName:     someUser,
	pb.Maintenance_Defragment_FullMethodName: adminOnly,
	pb.Maintenance_Hash_FullMethodName:       adminOnly,
	pb.Maintenance_HashKV_FullMethodName:     adminOnly,
	pb.Maintenance_Snapshot_FullMethodName:   adminOnly,
	pb.Maintenance_MoveLeader_FullMethodName: adminOnly,
	pb.Maintenance_Downgrade_FullMethodName:  adminOnly,
}

// permit refuses callers of a method that requires more. The request is nil for a
// stream.
func (g *gate) permit(ctx context.Context, method string, req any) error {
	if !g.auth.Enabled() {
		return nil
	}
	required := requirements[method]
	if r, ok := req.(*pb.AlarmRequest); ok && r.Action == pb.AlarmRequest_GET {
		required = someUser
	}
	switch required {
	case someUser:
		return grpcError(g.auth.RequireUser(ctx))
	case adminOnly:
		return grpcError(g.auth.RequireAdmin(ctx))
	}
	return nil
}
