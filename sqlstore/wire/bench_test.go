// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/wire"
)

// Each benchmark runs a hot path by this package ("wire") and by protobuf ("proto").

func benchmarkDecode[M proto.Message](b *testing.B, data []byte, decode func([]byte, M) error, fresh func() M) {
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := decode(data, fresh()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, fresh()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var benchKey = []byte("/registry/leases/kube-node-lease/node-0001")

func BenchmarkDecodePut(b *testing.B) {
	data := marshal(b, &pb.PutRequest{Key: benchKey, Value: make([]byte, 1024)})
	benchmarkDecode(b, data, wire.UnmarshalPut, func() *pb.PutRequest { return new(pb.PutRequest) })
}

func BenchmarkDecodeTxn(b *testing.B) {
	data := marshal(b, guardedUpdate(benchKey, make([]byte, 320)))
	benchmarkDecode(b, data, wire.UnmarshalTxn, func() *pb.TxnRequest { return new(pb.TxnRequest) })
}

func BenchmarkDecodePutEntry(b *testing.B) {
	raw := marshal(b, &pb.PutRequest{Key: benchKey, Value: make([]byte, 1024)})
	data, entry := wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindPut, raw), new(pb.InternalRaftRequest)
	benchmarkDecode(b, data, wire.UnmarshalInternal, func() *pb.InternalRaftRequest { return entry })
}

func BenchmarkDecodeTxnEntry(b *testing.B) {
	raw := marshal(b, guardedUpdate(benchKey, make([]byte, 320)))
	data, entry := wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindTxn, raw), new(pb.InternalRaftRequest)
	benchmarkDecode(b, data, wire.UnmarshalInternal, func() *pb.InternalRaftRequest { return entry })
}

func BenchmarkEncodeTxnEntry(b *testing.B) {
	request := guardedUpdate(benchKey, make([]byte, 320))
	raw := marshal(b, request)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 60}, wire.KindTxn, raw)
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		entry := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1 << 60}, Txn: request}
		for b.Loop() {
			marshal(b, entry)
		}
	})
}

func benchmarkEncode(b *testing.B, m wire.Message, same proto.Message) {
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = m.AppendTo(buf[:0])
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		var err error
		for b.Loop() {
			if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], same); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var benchHeader = wire.Header{ClusterID: 1 << 63, MemberID: 1 << 62, Revision: 1 << 20, RaftTerm: 3}

// benchPage is a page of 500 objects of 1 KiB.
func benchPage() *wire.RangeResponse {
	m := &wire.RangeResponse{Header: benchHeader, More: true, Count: 20000}
	for i := range int64(500) {
		m.KVs = append(m.KVs, wire.AppendKeyValue(nil, wire.KeyValue{
			Key: benchKey, Value: make([]byte, 1024), CreateRevision: 1<<20 + i, ModRevision: 1<<21 + i, Version: 3,
		}))
	}
	return m
}

func BenchmarkEncodePutResponse(b *testing.B) {
	m := &wire.PutResponse{Header: benchHeader}
	benchmarkEncode(b, m, pbPut(m))
}

func BenchmarkEncodeTxnResponse(b *testing.B) {
	m := &wire.TxnResponse{Header: benchHeader, Succeeded: true, Responses: []wire.ResponseOp{
		{Put: &wire.PutResponse{Header: wire.Header{Revision: 1 << 20}}},
	}}
	benchmarkEncode(b, m, pbTxn(m))
}

func BenchmarkEncodePage(b *testing.B) {
	m := benchPage()
	benchmarkEncode(b, m, pbRange(m))
}

// A page inside of nested transactions must cost what a page costs.
func BenchmarkEncodePageInTxns(b *testing.B) {
	m := &wire.TxnResponse{Responses: []wire.ResponseOp{{Range: benchPage()}}}
	for range 8 {
		m = &wire.TxnResponse{Responses: []wire.ResponseOp{{Txn: m}}}
	}
	benchmarkEncode(b, m, pbTxn(m))
}

func BenchmarkStripValue(b *testing.B) {
	data := benchPage().KVs[0]
	b.ReportAllocs()
	for b.Loop() {
		wire.StripValue(data)
	}
}
