// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Txn answers as KV.Txn. All comparisons, those of nested transactions
// included, look at the state before the transaction.
func (s *Store) Txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, MaxTxnOps); err != nil {
		return nil, err
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		if _, err := checkClashes(branch); err != nil {
			return nil, err
		}
	}
	plan := s.decide(r)
	if err := s.checkPlan(plan); err != nil {
		return nil, err
	}
	w := s.begin()
	resp := w.execute(plan)
	resp.Header.Revision = w.rev()
	w.commit()
	return resp, nil
}

// plan is a transaction whose comparisons are decided.
type plan struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    map[int]*plan // by index in ops
}

func (s *Store) decide(r *pb.TxnRequest) *plan {
	p := &plan{succeeded: true, ops: r.Success, nested: map[int]*plan{}}
	for _, c := range r.Compare {
		if !s.holds(c) {
			p.succeeded, p.ops = false, r.Failure
		}
	}
	for i, op := range p.ops {
		if t := op.GetRequestTxn(); t != nil {
			p.nested[i] = s.decide(t)
		}
	}
	return p
}

// holds evaluates one comparison: all keys of its range must satisfy it, and a
// missing key counts as zero, but has no value at all.
func (s *Store) holds(c *pb.Compare) bool {
	kvs := pick(s.live, c.Key, c.RangeEnd)
	if len(kvs) == 0 {
		return c.Target != pb.Compare_VALUE && satisfies(c, &mvccpb.KeyValue{})
	}
	for _, kv := range kvs {
		if !satisfies(c, kv) {
			return false
		}
	}
	return true
}

func satisfies(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true
}

// checkPlan tells what the state before the transaction forbids.
func (s *Store) checkPlan(p *plan) error {
	for i, op := range p.ops {
		var err error
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			err = s.checkRevision(o.RequestRange.Revision)
		case *pb.RequestOp_RequestPut:
			err = s.checkPutState(o.RequestPut)
		case *pb.RequestOp_RequestTxn:
			err = s.checkPlan(p.nested[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkRevision(rev int64) error {
	switch {
	case rev == 0:
		return nil
	case rev > s.rev:
		return rpctypes.ErrGRPCFutureRev
	case rev < s.compactRev:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

// execute answers a checked plan. The header of a nested answer stays empty.
func (w *writer) execute(p *plan) *pb.TxnResponse {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: p.succeeded}
	for i, op := range p.ops {
		answer := &pb.ResponseOp{}
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: w.s.read(o.RequestRange, w.rev())}
		case *pb.RequestOp_RequestPut:
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: w.apply(o.RequestPut)}
		case *pb.RequestOp_RequestDeleteRange:
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.applyDelete(o.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: w.execute(p.nested[i])}
		}
		resp.Responses = append(resp.Responses, answer)
	}
	return resp
}
