// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterService is etcd's Cluster service. Members can be listed, not changed
// yet.
type clusterService struct {
	*core
	pb.UnsafeClusterServer
}

// MemberList lists the members in the order of their ids.
func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if r.Linearizable {
		if err := s.linearize(ctx); err != nil {
			return nil, grpcError(err)
		}
	}
	resp := &pb.MemberListResponse{Header: s.pbHeader(0)}
	for _, m := range s.store.Members() {
		resp.Members = append(resp.Members, &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
		})
	}
	return resp, nil
}

// MemberAdd is not served yet.
func (s *clusterService) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, notServed("Cluster.MemberAdd")
}

// MemberRemove is not served yet.
func (s *clusterService) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, notServed("Cluster.MemberRemove")
}

// MemberUpdate is not served yet.
func (s *clusterService) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, notServed("Cluster.MemberUpdate")
}

// MemberPromote is not served yet.
func (s *clusterService) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, notServed("Cluster.MemberPromote")
}
