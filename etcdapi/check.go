// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/v3/adt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a request must satisfy before it reaches log or store, with etcd's
// answers. All of it depends on the request alone.

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// checkRangeStream refuses what can't be answered in chunks in key order.
func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	inKeyOrder := r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	if !inKeyOrder {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDeleteRange(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn allows at most maxOps operations on each list of a transaction; one
// inside another has what the outer leaves of that.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	ops := max(len(r.Compare), len(r.Success), len(r.Failure))
	if ops > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, maxOps int) error {
	switch o := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDeleteRange(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxn(o.RequestTxn, maxOps)
	}
	return rpctypes.ErrGRPCKeyNotFound // an operation that says nothing
}

// checkDuplicates refuses a transaction that would write a key twice. It comes
// after checkTxn, which bounds its work.
func checkDuplicates(r *pb.TxnRequest) error {
	for _, branch := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		if onePutAtMost(branch) {
			continue
		}
		if _, err := collectWrites(branch); err != nil {
			return err
		}
	}
	return nil
}

// onePutAtMost tells the branches of nearly all transactions, in which nothing
// can collide.
func onePutAtMost(branch []*pb.RequestOp) bool {
	writes := 0
	for _, op := range branch {
		switch op.Request.(type) {
		case *pb.RequestOp_RequestRange:
		case *pb.RequestOp_RequestTxn:
			return false
		default:
			writes++
		}
	}
	return writes <= 1
}

// writes is what a branch, with all transactions inside it, may write.
type writes struct {
	puts    map[string]struct{}
	deletes adt.IntervalTree
}

// everyKey is the interval of all keys there can be.
var everyKey = adt.NewStringAffineInterval("\x00", "")

// collectWrites gathers the writes of a branch and fails when a put collides
// with another or lies in a deleted range. Deletes may overlap each other, and
// the two branches of one inner transaction exclude each other. As in etcd a
// range_end of "\x00" collides with nothing, and a put inside an earlier inner
// transaction does not see the deletes of a later one.
func collectWrites(branch []*pb.RequestOp) (writes, error) {
	w := writes{puts: make(map[string]struct{}), deletes: adt.NewIntervalTree()}
	for _, op := range branch {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.deletes.Insert(deletedKeys(d), struct{}{})
		}
	}
	for _, op := range branch {
		if t := op.GetRequestTxn(); t != nil {
			if err := w.addTxn(t); err != nil {
				return w, err
			}
		}
	}
	for _, op := range branch {
		if p := op.GetRequestPut(); p != nil {
			if err := w.put(string(p.Key), nil); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

// addTxn adds what an inner transaction may write.
func (w *writes) addTxn(t *pb.TxnRequest) error {
	success, err := collectWrites(t.Success)
	if err != nil {
		return err
	}
	failure, err := collectWrites(t.Failure)
	if err != nil {
		return err
	}
	for key := range success.puts {
		if err := w.put(key, nil); err != nil {
			return err
		}
	}
	for key := range failure.puts {
		if err := w.put(key, success.puts); err != nil {
			return err
		}
	}
	w.deletes.Union(success.deletes, everyKey)
	w.deletes.Union(failure.deletes, everyKey)
	return nil
}

// put adds a key, which may be there already only if it is in exclusive.
func (w *writes) put(key string, exclusive map[string]struct{}) error {
	if _, twice := w.puts[key]; twice {
		if _, ok := exclusive[key]; !ok {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	if w.deletes.Intersects(adt.NewStringAffinePoint(key)) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	w.puts[key] = struct{}{}
	return nil
}

func deletedKeys(d *pb.DeleteRangeRequest) adt.Interval {
	if len(d.RangeEnd) == 0 {
		return adt.NewStringAffinePoint(string(d.Key))
	}
	return adt.NewStringAffineInterval(string(d.Key), string(d.RangeEnd))
}

// readOnly says whether a transaction changes nothing and needs no place in the
// log. One that holds another is taken for a write, as in etcd.
func readOnly(r *pb.TxnRequest) bool {
	return allOps(r, func(op *pb.RequestOp) bool { return op.GetRequestRange() != nil })
}

// serializable says whether all reads of a read-only transaction are.
func serializable(r *pb.TxnRequest) bool {
	return allOps(r, func(op *pb.RequestOp) bool { return op.GetRequestRange().GetSerializable() })
}

func allOps(r *pb.TxnRequest, holds func(*pb.RequestOp) bool) bool {
	for _, branch := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if !holds(op) {
				return false
			}
		}
	}
	return true
}
