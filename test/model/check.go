// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// What is wrong with a request whatever the store holds.

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

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn wants at most limit operations of a kind; a nested transaction has
// what the outer one leaves of it.
func checkTxn(r *pb.TxnRequest, limit int) error {
	ops := max(len(r.Compare), len(r.Success), len(r.Failure))
	if ops > limit {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, limit-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, limit int) error {
	switch o := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxn(o.RequestTxn, limit)
	default:
		return rpctypes.ErrGRPCKeyNotFound
	}
}

// interval is a range that a transaction deletes.
type interval struct{ key, end []byte }

// holds says whether a put of k clashes with the deletion. A range to "\0" is
// taken literally here, so that it holds nothing.
func (i interval) holds(k string) bool {
	if len(i.end) == 0 {
		return k == string(i.key)
	}
	return k >= string(i.key) && bytes.Compare([]byte(k), i.end) < 0
}

// writes are the keys and ranges that one branch of a transaction may write.
type writes struct {
	puts map[string]bool
	dels []interval
}

func (w *writes) put(k string) error {
	if w.puts[k] {
		return rpctypes.ErrGRPCDuplicateKey
	}
	return w.putAgain(k)
}

// putAgain allows a second put of k: then and else of a nested transaction
// never both happen.
func (w *writes) putAgain(k string) error {
	for _, d := range w.dels {
		if d.holds(k) {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	w.puts[k] = true
	return nil
}

// checkClashes wants that a branch puts no key twice and deletes none that it
// puts. A nested transaction's deletions count for what comes after it only.
func checkClashes(branch []*pb.RequestOp) (*writes, error) {
	w := &writes{puts: map[string]bool{}}
	for _, op := range branch {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels = append(w.dels, interval{d.Key, d.RangeEnd})
		}
	}
	for _, op := range branch {
		if t := op.GetRequestTxn(); t != nil {
			if err := w.nested(t); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range branch {
		if p := op.GetRequestPut(); p != nil {
			if err := w.put(string(p.Key)); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func (w *writes) nested(t *pb.TxnRequest) error {
	then, err := checkClashes(t.Success)
	if err != nil {
		return err
	}
	otherwise, err := checkClashes(t.Failure)
	if err != nil {
		return err
	}
	for k := range then.puts {
		if err := w.put(k); err != nil {
			return err
		}
	}
	for k := range otherwise.puts {
		put := w.put
		if then.puts[k] {
			put = w.putAgain
		}
		if err := put(k); err != nil {
			return err
		}
	}
	w.dels = append(w.dels, then.dels...)
	w.dels = append(w.dels, otherwise.dels...)
	return nil
}
