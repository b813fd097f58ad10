// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/wire"
)

// branch is the outcome of a transaction's comparisons: the operations that
// are to run, with the branches of nested transactions in their order. All
// comparisons of a transaction, nested ones included, see the state before it.
type branch struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []*branch
}

// valueLoader reads values for comparisons.
type valueLoader func(pairs []pair) ([][]byte, error)

// decide runs the comparisons of a transaction against w.
func decide(w *view, r *pb.TxnRequest, load valueLoader) (*branch, error) {
	ok, err := holds(w, r.Compare, load)
	if err != nil {
		return nil, err
	}
	b := &branch{succeeded: ok, ops: r.Success}
	if !ok {
		b.ops = r.Failure
	}
	for _, op := range b.ops {
		if nested := op.GetRequestTxn(); nested != nil {
			n, err := decide(w, nested, load)
			if err != nil {
				return nil, err
			}
			b.nested = append(b.nested, n)
		}
	}
	return b, nil
}

func holds(w *view, compares []*pb.Compare, load valueLoader) (bool, error) {
	for _, c := range compares {
		if ok, err := holdsOne(w, c, load); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// holdsOne reports whether a comparison holds for every key of its range. A
// key that does not exist compares as zeros, but never by value.
func holdsOne(w *view, c *pb.Compare, load valueLoader) (bool, error) {
	pairs := w.collect(c.Key, c.RangeEnd, w.rev, 0)
	if len(pairs) == 0 {
		return c.Target != pb.Compare_VALUE && accepts(c.Result, compareNumber(c, &version{})), nil
	}
	if c.Target != pb.Compare_VALUE {
		for _, p := range pairs {
			if !accepts(c.Result, compareNumber(c, p.v)) {
				return false, nil
			}
		}
		return true, nil
	}
	values, err := load(pairs)
	if err != nil {
		return false, err
	}
	for _, data := range values {
		kv, err := wire.ParseKeyValue(data)
		if err != nil {
			return false, err
		}
		if !accepts(c.Result, bytes.Compare(kv.Value, c.GetValue())) {
			return false, nil
		}
	}
	return true, nil
}

// compareNumber compares a version's field with the comparison's operand.
func compareNumber(c *pb.Compare, v *version) int {
	switch c.Target {
	case pb.Compare_CREATE:
		return cmp.Compare(v.create, c.GetCreateRevision())
	case pb.Compare_MOD:
		return cmp.Compare(v.revision, c.GetModRevision())
	case pb.Compare_VERSION:
		return cmp.Compare(v.number, c.GetVersion())
	case pb.Compare_LEASE:
		return cmp.Compare(v.lease, c.GetLease())
	}
	return 0
}

func accepts(r pb.Compare_CompareResult, order int) bool {
	switch r {
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

// checkRange finds what is wrong with a range of a transaction. As in etcd a
// negative revision is below every compacted one once there is one.
func checkRange(w *view, r *pb.RangeRequest) error {
	switch {
	case r.Revision == 0:
		return nil
	case r.Revision > w.rev:
		return ErrFutureRevision
	case r.Revision < w.compactRev:
		return ErrCompacted
	}
	return nil
}

// check finds what is wrong with the operations of the chosen branches.
func (t *writeTxn) check(w *view, b *branch) error {
	nested := b.nested
	for _, op := range b.ops {
		var err error
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			err = checkRange(w, r.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = t.checkPut(r.RequestPut)
		case *pb.RequestOp_RequestTxn:
			if r.RequestTxn != nil {
				err = t.check(w, nested[0])
				nested = nested[1:]
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run executes the operations of a branch. They have been checked.
func (t *writeTxn) run(b *branch) *wire.TxnResponse {
	resp := &wire.TxnResponse{Succeeded: b.succeeded, Responses: make([]wire.ResponseOp, len(b.ops))}
	nested := b.nested
	for i, op := range b.ops {
		out := &resp.Responses[i]
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			rr, err := t.s.rangeOn(t.s.ctx, t.s.private(t.rev()), r.RequestRange, nil)
			if err != nil {
				panic(fmt.Sprintf("sqlstore: range in a checked transaction: %v", err)) // half a transaction can't be taken back
			}
			out.Range = rr
		case *pb.RequestOp_RequestPut:
			out.Put = t.execPut(r.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			out.DeleteRange = t.execDelete(r.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			if r.RequestTxn != nil {
				out.Txn = t.run(nested[0])
				nested = nested[1:]
			}
		}
	}
	return resp
}

func (s *Store) applyTxn(r *pb.TxnRequest) (*wire.TxnResponse, error) {
	s.opts.Metrics.Txns.Inc()
	t := s.begin()
	w := s.private(s.rev)
	b, err := decide(w, r, func(pairs []pair) ([][]byte, error) { return t.mustLoadAll(pairs), nil })
	if err != nil {
		return nil, err
	}
	if err := t.check(w, b); err != nil {
		return nil, err
	}
	resp := t.run(b)
	t.end()
	resp.Header.Revision = t.rev()
	return resp, nil
}

// ReadTxn executes a transaction without writes on the newest published
// state. Errors: as Range.
func (s *Store) ReadTxn(ctx context.Context, r *pb.TxnRequest) (*wire.TxnResponse, error) {
	s.opts.Metrics.Txns.Inc()
	for {
		w := s.view.Load()
		resp, err := s.readTxnOn(ctx, w, r)
		if !errors.Is(err, errRowGone) || s.view.Load() == w {
			return resp, err
		}
	}
}

func (s *Store) readTxnOn(ctx context.Context, w *view, r *pb.TxnRequest) (*wire.TxnResponse, error) {
	b, err := decide(w, r, func(pairs []pair) ([][]byte, error) { return s.loadAll(ctx, pairs) })
	if err != nil {
		return nil, err
	}
	t := &writeTxn{s: s, begin: w.rev}
	if err := t.check(w, b); err != nil {
		return nil, err
	}
	resp, err := s.readBranch(ctx, w, b)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = w.rev
	return resp, nil
}

func (s *Store) readBranch(ctx context.Context, w *view, b *branch) (*wire.TxnResponse, error) {
	resp := &wire.TxnResponse{Succeeded: b.succeeded, Responses: make([]wire.ResponseOp, len(b.ops))}
	nested := b.nested
	for i, op := range b.ops {
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			rr, err := s.rangeOn(ctx, w, r.RequestRange, nil)
			if err != nil {
				return nil, err
			}
			resp.Responses[i].Range = rr
		case *pb.RequestOp_RequestTxn:
			if r.RequestTxn == nil {
				continue
			}
			nr, err := s.readBranch(ctx, w, nested[0])
			if err != nil {
				return nil, err
			}
			resp.Responses[i].Txn = nr
			nested = nested[1:]
		default:
			return nil, ErrUnsupported
		}
	}
	return resp, nil
}
