// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxEntryDepth is how deep messages nest in an entry at most, the entry itself included:
	// protobuf's own bound.
	maxEntryDepth = protowire.DefaultRecursionLimit
	// MaxRequestDepth is how deep messages nest in a client's request at most, the request itself
	// included: one less than in the entry that it becomes part of.
	MaxRequestDepth = maxEntryDepth - 1
)

// UnmarshalTxn decodes a TxnRequest into m, whose former content is dropped. All keys and values
// alias data.
func UnmarshalTxn(data []byte, m *pb.TxnRequest) error {
	m.Reset()
	return mergeTxn(data, m, MaxRequestDepth)
}

// mergeTxn decodes a transaction of at most depth nested messages, itself included.
func mergeTxn(data []byte, m *pb.TxnRequest, depth int) error {
	if depth < 1 {
		return ErrTooDeep
	}
	spares, err := reserveTxn(data, m)
	if err != nil {
		return err
	}
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			if depth < 2 {
				return ErrTooDeep
			}
			compare := take(&spares.compare)
			m.Compare = append(m.Compare, &compare.compare)
			c.fail(mergeCompare(c.view(), compare))
		case 2<<3 | lenType:
			data := c.view()
			op := newRequestOp(data, &spares)
			m.Success = append(m.Success, op)
			c.fail(mergeRequestOp(data, op, depth-1))
		case 3<<3 | lenType:
			data := c.view()
			op := newRequestOp(data, &spares)
			m.Failure = append(m.Failure, op)
			c.fail(mergeRequestOp(data, op, depth-1))
		default:
			c.skip(tag)
		}
	}
	return c.err
}

// guardedWrite is room, in one allocation, for the transaction by which Kubernetes writes: one
// compare, one write if it holds, and one read if it does not.
type guardedWrite struct {
	compares [1]*pb.Compare
	ops      [2]*pb.RequestOp
	compare  compareMod
	put      putOp
	get      rangeOp
}

// spareParts are allocated parts of a transaction, for take.
type spareParts struct {
	compare *compareMod
	put     *putOp
	get     *rangeOp
}

// take returns the spare part, once, and new ones after that.
func take[T any](spare **T) *T {
	part := *spare
	if part == nil {
		return new(T)
	}
	*spare = nil
	return part
}

// reserveTxn gives m's empty lists the room that data's elements need, and returns what it
// allocated besides. It looks at the transaction's own fields only, so that a nested one is not
// walked once a level.
func reserveTxn(data []byte, m *pb.TxnRequest) (spareParts, error) {
	var compares, success, failure int
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			compares++
		case 2<<3 | lenType:
			success++
		case 3<<3 | lenType:
			failure++
		}
		c.skip(tag)
	}
	if c.err != nil || len(m.Compare)+len(m.Success)+len(m.Failure) > 0 {
		return spareParts{}, c.err // a merge appends as it goes
	}
	if compares == 1 && success == 1 && failure <= 1 {
		g := new(guardedWrite)
		m.Compare = g.compares[:0:1]
		m.Success = g.ops[:0:1]
		m.Failure = room(g.ops[1:], failure)
		return spareParts{&g.compare, &g.put, &g.get}, nil
	}
	list := make([]*pb.RequestOp, success+failure)
	m.Compare = room(make([]*pb.Compare, compares), compares)
	m.Success = room(list, success)
	m.Failure = room(list[success:], failure)
	return spareParts{}, nil
}

// room returns an empty list with room for s's first n elements; nil if there are none, as
// protobuf leaves an absent list.
func room[T any](s []T, n int) []T {
	if n == 0 {
		return nil
	}
	return s[:0:n]
}

// compareMod is a Compare with room for the target that Kubernetes sends.
type compareMod struct {
	compare pb.Compare
	target  pb.Compare_ModRevision
}

func mergeCompare(data []byte, a *compareMod) error {
	m := &a.compare
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.Result = pb.Compare_CompareResult(c.varint())
		case 2<<3 | varintType:
			m.Target = pb.Compare_CompareTarget(c.varint())
		case 3<<3 | lenType:
			m.Key = c.bytes()
		case 4<<3 | varintType:
			m.TargetUnion = &pb.Compare_Version{Version: c.int64()}
		case 5<<3 | varintType:
			m.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: c.int64()}
		case 6<<3 | varintType:
			a.target.ModRevision = c.int64()
			m.TargetUnion = &a.target
		case 7<<3 | lenType:
			m.TargetUnion = &pb.Compare_Value{Value: c.view()}
		case 8<<3 | varintType:
			m.TargetUnion = &pb.Compare_Lease{Lease: c.int64()}
		case 64<<3 | lenType:
			m.RangeEnd = c.bytes()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

// The types below hold an operation with its oneof wrapper and its request, in one allocation.
type (
	rangeOp struct {
		op      pb.RequestOp
		union   pb.RequestOp_RequestRange
		request pb.RangeRequest
	}
	putOp struct {
		op      pb.RequestOp
		union   pb.RequestOp_RequestPut
		request pb.PutRequest
	}
	deleteRangeOp struct {
		op      pb.RequestOp
		union   pb.RequestOp_RequestDeleteRange
		request pb.DeleteRangeRequest
	}
	txnOp struct {
		op      pb.RequestOp
		union   pb.RequestOp_RequestTxn
		request pb.TxnRequest
	}
)

// newRequestOp returns an operation that already holds an empty request of the kind that data
// begins with, for mergeRequestOp to fill.
func newRequestOp(data []byte, spares *spareParts) *pb.RequestOp {
	if len(data) == 0 {
		return new(pb.RequestOp)
	}
	switch data[0] {
	case 1<<3 | lenType:
		a := take(&spares.get)
		a.union.RequestRange = &a.request
		a.op.Request = &a.union
		return &a.op
	case 2<<3 | lenType:
		a := take(&spares.put)
		a.union.RequestPut = &a.request
		a.op.Request = &a.union
		return &a.op
	case 3<<3 | lenType:
		a := new(deleteRangeOp)
		a.union.RequestDeleteRange = &a.request
		a.op.Request = &a.union
		return &a.op
	case 4<<3 | lenType:
		a := new(txnOp)
		a.union.RequestTxn = &a.request
		a.op.Request = &a.union
		return &a.op
	}
	return new(pb.RequestOp)
}

// mergeRequestOp decodes an operation of at most depth nested messages, itself included.
func mergeRequestOp(data []byte, op *pb.RequestOp, depth int) error {
	if depth < 1 {
		return ErrTooDeep
	}
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		if tag < 1<<3|lenType || tag > 4<<3|lenType || tag&7 != lenType {
			c.skip(tag)
			continue
		}
		if depth < 2 {
			return ErrTooDeep
		}
		switch request := c.view(); tag {
		case 1<<3 | lenType:
			union, ok := op.Request.(*pb.RequestOp_RequestRange)
			if !ok {
				union = &pb.RequestOp_RequestRange{RequestRange: new(pb.RangeRequest)}
				op.Request = union
			}
			c.fail(mergeRange(request, union.RequestRange))
		case 2<<3 | lenType:
			union, ok := op.Request.(*pb.RequestOp_RequestPut)
			if !ok {
				union = &pb.RequestOp_RequestPut{RequestPut: new(pb.PutRequest)}
				op.Request = union
			}
			c.fail(mergePut(request, union.RequestPut))
		case 3<<3 | lenType:
			union, ok := op.Request.(*pb.RequestOp_RequestDeleteRange)
			if !ok {
				union = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: new(pb.DeleteRangeRequest)}
				op.Request = union
			}
			c.fail(mergeDeleteRange(request, union.RequestDeleteRange))
		case 4<<3 | lenType:
			union, ok := op.Request.(*pb.RequestOp_RequestTxn)
			if !ok {
				union = &pb.RequestOp_RequestTxn{RequestTxn: new(pb.TxnRequest)}
				op.Request = union
			}
			c.fail(mergeTxn(request, union.RequestTxn, depth-1))
		}
	}
	return c.err
}
