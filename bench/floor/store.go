// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// store keeps the newest value of each key, in the order in which keys came.
type store struct {
	pb.UnimplementedKVServer
	log *log

	mu       sync.RWMutex
	revision int64
	byKey    map[string]int // index into kvs
	kvs      []*mvccpb.KeyValue
}

func newStore(l *log) *store {
	return &store{log: l, byKey: make(map[string]int), revision: 1}
}

// Put appends the value and keeps it.
func (s *store) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := s.log.append(r.Value); err != nil {
		return nil, err
	}
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: s.keep(r)}}, nil
}

// Txn appends and keeps the puts of the success branch. It compares nothing.
func (s *store) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	var data []byte
	for _, op := range r.Success {
		data = append(data, op.GetRequestPut().GetValue()...)
	}
	if err := s.log.append(data); err != nil {
		return nil, err
	}
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: true}
	for _, op := range r.Success {
		resp.Header.Revision = s.keep(op.GetRequestPut())
		resp.Responses = append(resp.Responses, &pb.ResponseOp{
			Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}},
		})
	}
	return resp, nil
}

// Range returns the key, or the number or the first keys of everything there is.
func (s *store) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: s.revision}}
	if len(r.RangeEnd) == 0 {
		if i, ok := s.byKey[string(r.Key)]; ok {
			resp.Kvs, resp.Count = []*mvccpb.KeyValue{s.kvs[i]}, 1
		}
		return resp, nil
	}
	resp.Count = int64(len(s.kvs))
	if r.CountOnly {
		return resp, nil
	}
	n := len(s.kvs)
	if r.Limit > 0 {
		n = min(n, int(r.Limit))
	}
	resp.Kvs, resp.More = append(resp.Kvs, s.kvs[:n]...), n < len(s.kvs)
	return resp, nil
}

// keep puts the value in memory and returns its revision. A KeyValue is never changed: an answer may
// still hold it.
func (s *store) keep(r *pb.PutRequest) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	kv := &mvccpb.KeyValue{Key: r.GetKey(), Value: r.GetValue(), CreateRevision: s.revision, ModRevision: s.revision, Version: 1}
	if i, ok := s.byKey[string(kv.Key)]; ok {
		s.kvs[i] = kv
	} else {
		s.byKey[string(kv.Key)] = len(s.kvs)
		s.kvs = append(s.kvs, kv)
	}
	return s.revision
}
