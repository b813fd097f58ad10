// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The model has no clock: a lease lives until it is revoked, and the remaining
// time of every lease is the granted one.

// LeaseIDs returns the ids of all leases, in order.
func (s *Store) LeaseIDs() []int64 { return slices.Sorted(maps.Keys(s.leases)) }

// LeaseGrant answers as Lease.LeaseGrant for a request that names its id.
func (s *Store) LeaseGrant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > MaxLeaseTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	if s.leases[r.ID] != nil {
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	l := &Lease{ID: r.ID, TTL: max(r.TTL, MinLeaseTTL), keys: map[string]struct{}{}}
	s.leases[r.ID] = l
	return &pb.LeaseGrantResponse{Header: s.header(), ID: l.ID, TTL: l.TTL}, nil
}

// LeaseRevoke answers as Lease.LeaseRevoke: the attached keys go in one
// transaction, in key order.
func (s *Store) LeaseRevoke(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	l := s.leases[r.ID]
	if l == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	w := s.begin()
	for _, k := range slices.Sorted(maps.Keys(l.keys)) {
		w.deleteRange([]byte(k), nil)
	}
	w.commit()
	delete(s.leases, r.ID)
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

// LeaseTimeToLive answers as Lease.LeaseTimeToLive, the keys in order.
func (s *Store) LeaseTimeToLive(r *pb.LeaseTimeToLiveRequest) *pb.LeaseTimeToLiveResponse {
	resp := &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.ID, TTL: -1}
	l := s.leases[r.ID]
	if l == nil {
		return resp
	}
	resp.TTL, resp.GrantedTTL = l.TTL, l.TTL
	if r.Keys {
		for _, k := range slices.Sorted(maps.Keys(l.keys)) {
			resp.Keys = append(resp.Keys, []byte(k))
		}
	}
	return resp
}

// LeaseKeepAlive answers as one exchange on Lease.LeaseKeepAlive.
func (s *Store) LeaseKeepAlive(r *pb.LeaseKeepAliveRequest) *pb.LeaseKeepAliveResponse {
	resp := &pb.LeaseKeepAliveResponse{Header: s.header(), ID: r.ID}
	if l := s.leases[r.ID]; l != nil {
		resp.TTL = l.TTL
	}
	return resp
}

// LeaseLeases answers as Lease.LeaseLeases, in order of id.
func (s *Store) LeaseLeases() *pb.LeaseLeasesResponse {
	resp := &pb.LeaseLeasesResponse{Header: s.header()}
	for _, id := range s.LeaseIDs() {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp
}

func (s *Store) detach(kv *mvccpb.KeyValue) {
	if l := s.leases[kv.Lease]; l != nil {
		delete(l.keys, string(kv.Key))
	}
}
