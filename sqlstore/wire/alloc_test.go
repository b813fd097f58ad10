// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

// The race detector allocates on its own account.

package wire_test

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"keelson.io/keelson/sqlstore/wire"
)

// TestAllocations holds the numbers of allocations, which are the point of this package.
func TestAllocations(t *testing.T) {
	key, value := []byte("/registry/leases/kube-node-lease/node-0001"), make([]byte, 320)
	put := marshal(t, &pb.PutRequest{Key: key, Value: value})
	txn := marshal(t, guardedUpdate(key, value))
	putEntry := wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindPut, put)
	txnEntry := wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindTxn, txn)
	kv := wire.KeyValue{Key: key, Value: value, CreateRevision: 5, ModRevision: 9, Version: 3}
	encoded := wire.AppendKeyValue(nil, kv)
	response := &wire.TxnResponse{Succeeded: true, Responses: []wire.ResponseOp{
		{Range: &wire.RangeResponse{KVs: [][]byte{encoded, encoded}}},
		{Txn: &wire.TxnResponse{Responses: []wire.ResponseOp{{Put: &wire.PutResponse{PrevKV: encoded}}}}},
	}}
	buf := make([]byte, 0, 4096)
	var p pb.PutRequest
	var x pb.TxnRequest
	var r pb.InternalRaftRequest
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"decode a put", 0, func() { must(wire.UnmarshalPut(put, &p)) }},
		{"decode Kubernetes' txn", 1, func() { must(wire.UnmarshalTxn(txn, &x)) }},
		{"decode a put's entry: request with header", 1, func() { must(wire.UnmarshalInternal(putEntry, &r)) }},
		{"decode a txn's entry: request with header, and its parts", 2, func() { must(wire.UnmarshalInternal(txnEntry, &r)) }},
		{"encode an entry", 1, func() { wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindTxn, txn) }},
		{"encode a key-value", 1, func() { wire.AppendKeyValue(nil, kv) }},
		{"decode a key-value", 0, func() { _, err := wire.ParseKeyValue(encoded); must(err) }},
		{"take a value out", 1, func() { wire.StripValue(encoded) }},
		{"encode an event", 1, func() { wire.AppendEvent(nil, mvccpb.PUT, encoded, encoded) }},
		{"encode a response", 0, func() { response.MarshalTo(buf[:response.Size()]) }},
		{"append a response", 0, func() { buf = response.AppendTo(buf[:0]) }},
	} {
		if got := testing.AllocsPerRun(100, c.run); got > c.max {
			t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.max)
		}
	}
}
