// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Put answers as KV.Put.
func (s *Store) Put(r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if err := s.checkPutState(r); err != nil {
		return nil, err
	}
	w := s.begin()
	resp := w.apply(r)
	w.commit()
	return resp, nil
}

// checkPutState tells what forbids a well-formed put in the present state.
func (s *Store) checkPutState(r *pb.PutRequest) error {
	if r.Lease != 0 && s.leases[r.Lease] == nil {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	if (r.IgnoreValue || r.IgnoreLease) && s.live[string(r.Key)] == nil {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

// apply writes a put that was checked.
func (w *writer) apply(r *pb.PutRequest) *pb.PutResponse {
	old := w.s.live[string(r.Key)]
	value, lease := r.Value, r.Lease
	if r.IgnoreValue {
		value = old.Value
	}
	if r.IgnoreLease {
		lease = old.Lease
	}
	w.put(r.Key, value, lease)
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: w.rev()}}
	if r.PrevKv {
		resp.PrevKv = old
	}
	return resp
}

// DeleteRange answers as KV.DeleteRange.
func (s *Store) DeleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	w := s.begin()
	resp := w.applyDelete(r)
	w.commit()
	return resp, nil
}

func (w *writer) applyDelete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	old := w.deleteRange(r.Key, r.RangeEnd)
	resp := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: w.rev()}, Deleted: int64(len(old))}
	if r.PrevKv {
		resp.PrevKvs = old
	}
	return resp
}

// Range answers as KV.Range.
func (s *Store) Range(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if r.Revision > s.rev {
		return nil, rpctypes.ErrGRPCFutureRev
	}
	if r.Revision > 0 && r.Revision < s.compactRev {
		return nil, rpctypes.ErrGRPCCompacted
	}
	return s.read(r, s.rev), nil
}

// RangeStream answers as the chunks of KV.RangeStream put together: all values
// in order, and header, more and count of the last one.
func (s *Store) RangeStream(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if !defaultOrder(r) {
		return nil, status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if filtersRevisions(r) {
		return nil, status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return s.Range(r)
}

// read answers a checked range. The newest revision is a parameter because it
// is one ahead of the store's in a transaction that has written.
func (s *Store) read(r *pb.RangeRequest, newest int64) *pb.RangeResponse {
	state := s.live
	if r.Revision > 0 && r.Revision < newest {
		state = s.at(r.Revision)
	}
	kvs := pick(state, r.Key, r.RangeEnd)
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: newest}, Count: int64(len(kvs))}
	if r.CountOnly {
		return resp
	}
	// One more than the limit is enough to tell that there is more.
	if r.Limit > 0 && defaultOrder(r) && !filtersRevisions(r) && int64(len(kvs)) > r.Limit {
		kvs = kvs[:r.Limit+1]
	}
	kvs = slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool { return filteredOut(r, kv) })
	sortKVs(kvs, r)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, resp.More = kvs[:r.Limit], true
	}
	for _, kv := range kvs {
		if r.KeysOnly {
			kv = withoutValue(kv, r.SortTarget)
		}
		resp.Kvs = append(resp.Kvs, kv)
	}
	return resp
}

func withoutValue(kv *mvccpb.KeyValue, target pb.RangeRequest_SortTarget) *mvccpb.KeyValue {
	stripped := &mvccpb.KeyValue{
		Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
	}
	if target == pb.RangeRequest_VALUE {
		stripped.Lease = kv.Lease
	}
	return stripped
}

func defaultOrder(r *pb.RangeRequest) bool {
	return r.SortOrder == pb.RangeRequest_NONE ||
		r.SortOrder == pb.RangeRequest_ASCEND && r.SortTarget == pb.RangeRequest_KEY
}

func filtersRevisions(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func filteredOut(r *pb.RangeRequest, kv *mvccpb.KeyValue) bool {
	return r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
		r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
		r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
		r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision
}

// sortKVs sorts as the request asks. Equal elements end up as sort.Sort leaves
// them, which is what etcd's clients have seen for years.
func sortKVs(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	order := r.SortOrder
	if order == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		order = pb.RangeRequest_ASCEND
	}
	if order == pb.RangeRequest_NONE || order == pb.RangeRequest_ASCEND && r.SortTarget == pb.RangeRequest_KEY {
		return
	}
	var by sort.Interface = &sorter{kvs, r.SortTarget}
	if order == pb.RangeRequest_DESCEND {
		by = sort.Reverse(by)
	}
	sort.Sort(by)
}

type sorter struct {
	kvs    []*mvccpb.KeyValue
	target pb.RangeRequest_SortTarget
}

func (s *sorter) Len() int           { return len(s.kvs) }
func (s *sorter) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s *sorter) Less(i, j int) bool { return compareBy(s.target, s.kvs[i], s.kvs[j]) < 0 }

func compareBy(target pb.RangeRequest_SortTarget, a, b *mvccpb.KeyValue) int {
	switch target {
	case pb.RangeRequest_KEY:
		return bytes.Compare(a.Key, b.Key)
	case pb.RangeRequest_VERSION:
		return cmp.Compare(a.Version, b.Version)
	case pb.RangeRequest_CREATE:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case pb.RangeRequest_MOD:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	default:
		return bytes.Compare(a.Value, b.Value)
	}
}
