// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/model"
)

// txnShape is what a transaction under construction has so far.
type txnShape struct {
	used map[string]bool // keys that it writes
	from string          // the least key of a deletion of all keys from there
	cut  bool            // whether there is such a deletion
}

func (g *generator) txn() *pb.TxnRequest {
	if g.percent(0.5) {
		return g.crowdedTxn()
	}
	return g.txnOf(&txnShape{used: map[string]bool{}}, 3)
}

// crowdedTxn has about as many operations as a server takes.
func (g *generator) crowdedTxn() *pb.TxnRequest {
	outer, inner := &pb.TxnRequest{}, &pb.TxnRequest{}
	for i := range model.MaxTxnOps - 1 + g.IntN(3) {
		key := []byte(fmt.Sprintf("crowd/%03d", i))
		op := requestPut(&pb.PutRequest{Key: key})
		if g.percent(50) {
			op = requestRange(&pb.RangeRequest{Key: key})
		}
		// Nested, the operations share the limit with the outer transaction's.
		if i > 64 {
			outer.Success = append(outer.Success, op)
		} else {
			inner.Failure = append(inner.Failure, op)
		}
	}
	if g.percent(50) {
		outer.Success = append(inner.Failure, outer.Success...)
	} else {
		inner.Compare = []*pb.Compare{{Key: []byte("no such key"), Target: pb.Compare_VALUE}}
		outer.Success = append(outer.Success, requestTxn(inner))
	}
	return outer
}

func (g *generator) txnOf(shape *txnShape, depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range g.IntN(4) {
		r.Compare = append(r.Compare, g.compare())
	}
	readOnly := g.percent(15)
	for _, branch := range []*[]*pb.RequestOp{&r.Success, &r.Failure} {
		for range g.IntN(4) {
			if readOnly {
				*branch = append(*branch, requestRange(g.rangeOf()))
			} else {
				*branch = append(*branch, g.requestOp(shape, depth))
			}
		}
	}
	return r
}

func (g *generator) requestOp(shape *txnShape, depth int) *pb.RequestOp {
	switch at := g.Float64() * 100; {
	case at < 30:
		return requestRange(g.rangeOf())
	case at < 65:
		if p := g.putIn(shape); p != nil {
			return requestPut(p)
		}
	case at < 85:
		return requestDelete(g.deleteIn(shape))
	case at < 99.5 && depth > 1:
		return requestTxn(g.txnOf(shape, depth-1))
	case at >= 99.8:
		return &pb.RequestOp{}
	}
	return requestRange(g.rangeOf())
}

// putIn returns a put that mostly does not clash with what the transaction
// writes already, and never puts again what a deletion from some key on took:
// see the package's documentation.
func (g *generator) putIn(shape *txnShape) *pb.PutRequest {
	for range 10 {
		p := g.put()
		key := string(p.Key)
		if shape.cut && key >= shape.from || shape.used[key] && g.percent(90) {
			continue
		}
		shape.used[key] = true
		return p
	}
	return nil
}

func (g *generator) deleteIn(shape *txnShape) *pb.DeleteRangeRequest {
	d := g.deleteRange()
	for range 10 {
		if !shape.used[string(d.Key)] || g.percent(10) {
			break
		}
		d = g.deleteRange()
	}
	if len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0 {
		if !shape.cut || string(d.Key) < shape.from {
			shape.cut, shape.from = true, string(d.Key)
		}
	}
	shape.used[string(d.Key)] = true
	return d
}

func (g *generator) compare() *pb.Compare {
	key := g.key()
	if live := g.store.Keys(); len(live) > 0 && g.percent(60) {
		key = []byte(oneOf(g, live))
	}
	c := &pb.Compare{
		Key:    key,
		Target: pb.Compare_CompareTarget(g.IntN(5)),
		Result: pb.Compare_CompareResult(g.IntN(4)),
	}
	if g.percent(20) {
		c.Key, c.RangeEnd = g.keyRange()
	}
	operand := c.Target
	switch at := g.Float64() * 100; {
	case at < 1: // the operand of another target
		operand = pb.Compare_CompareTarget(g.IntN(5))
	case at < 2: // none
		return c
	case at < 2.3: // targets and results that no server knows
		c.Target, c.Result = pb.Compare_CompareTarget(g.IntN(8)), pb.Compare_CompareResult(g.IntN(8))
	}
	g.setOperand(c, operand)
	return c
}

// setOperand gives the comparison an operand at or near what the key has.
func (g *generator) setOperand(c *pb.Compare, target pb.Compare_CompareTarget) {
	kv := g.store.Get(string(c.Key))
	if kv == nil && g.percent(30) {
		kv = g.store.Get(oneOf(g, keys))
	}
	off := func(n int64) int64 {
		if g.percent(60) {
			return n
		}
		return n + g.Int64N(5) - 2
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: off(kv.GetVersion())}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: off(kv.GetCreateRevision())}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: off(kv.GetModRevision())}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: off(kv.GetLease())}
	default:
		value := kv.GetValue()
		if g.percent(40) {
			value = g.value()
		}
		c.TargetUnion = &pb.Compare_Value{Value: value}
	}
}

func requestRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func requestPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func requestDelete(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func requestTxn(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}
