// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"keelson.io/keelson/sqlstore/wire"
)

// The functions below turn this package's responses into etcd's structs.

func pbHeader(h wire.Header) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: h.ClusterID, MemberId: h.MemberID, Revision: h.Revision, RaftTerm: h.RaftTerm}
}

func pbKV(data []byte) *mvccpb.KeyValue {
	if data == nil {
		return nil
	}
	kv := new(mvccpb.KeyValue)
	if err := proto.Unmarshal(data, kv); err != nil {
		panic(err)
	}
	return kv
}

func pbKVs(list [][]byte) []*mvccpb.KeyValue {
	var kvs []*mvccpb.KeyValue
	for _, data := range list {
		kvs = append(kvs, pbKV(data))
	}
	return kvs
}

func pbRange(m *wire.RangeResponse) *pb.RangeResponse {
	return &pb.RangeResponse{Header: pbHeader(m.Header), Kvs: pbKVs(m.KVs), More: m.More, Count: m.Count}
}

func pbPut(m *wire.PutResponse) *pb.PutResponse {
	return &pb.PutResponse{Header: pbHeader(m.Header), PrevKv: pbKV(m.PrevKV)}
}

func pbDeleteRange(m *wire.DeleteRangeResponse) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: pbHeader(m.Header), Deleted: m.Deleted, PrevKvs: pbKVs(m.PrevKVs)}
}

func pbTxn(m *wire.TxnResponse) *pb.TxnResponse {
	out := &pb.TxnResponse{Header: pbHeader(m.Header), Succeeded: m.Succeeded}
	for _, r := range m.Responses {
		op := new(pb.ResponseOp)
		switch {
		case r.Range != nil:
			op.Response = &pb.ResponseOp_ResponseRange{ResponseRange: pbRange(r.Range)}
		case r.Put != nil:
			op.Response = &pb.ResponseOp_ResponsePut{ResponsePut: pbPut(r.Put)}
		case r.DeleteRange != nil:
			op.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: pbDeleteRange(r.DeleteRange)}
		case r.Txn != nil:
			op.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: pbTxn(r.Txn)}
		}
		out.Responses = append(out.Responses, op)
	}
	return out
}

func checkEncoding(t rapid.TB, m wire.Message, want proto.Message) {
	t.Helper()
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if m.Size() != len(data) {
		t.Fatalf("size %d, want %d", m.Size(), len(data))
	}
	if got := m.AppendTo([]byte("before")); !bytes.Equal(got, append([]byte("before"), data...)) {
		t.Fatalf("encoded\n%x\nwant\n%x", got[len("before"):], data)
	}
	shared := 0
	parts := wire.Scatter(m)
	for _, part := range parts {
		if len(part) >= wire.MinShared {
			shared += len(part)
		}
	}
	if got := bytes.Join(parts, nil); !bytes.Equal(got, data) {
		t.Fatalf("scattered\n%x\nwant\n%x", got, data)
	}
	if shareable := wire.Shareable(m); shareable > shared {
		t.Fatalf("%d bytes could be shared, parts have %d", shareable, shared)
	}
}

func TestResponsesEqualProtobufs(t *testing.T) {
	check := func(name string, property func(*rapid.T)) {
		t.Run(name, func(t *testing.T) { rapid.Check(t, property) })
	}
	check("range", func(t *rapid.T) {
		m := anyRangeResponse(t)
		checkEncoding(t, m, pbRange(m))
	})
	check("put", func(t *rapid.T) {
		m := anyPutResponse(t)
		checkEncoding(t, m, pbPut(m))
	})
	check("delete range", func(t *rapid.T) {
		m := anyDeleteRangeResponse(t)
		checkEncoding(t, m, pbDeleteRange(m))
	})
	check("txn", func(t *rapid.T) {
		m := anyTxnResponse(t, 4)
		checkEncoding(t, m, pbTxn(m))
	})
	check("range stream", func(t *rapid.T) {
		m := &wire.RangeStreamResponse{Range: *anyRangeResponse(t), HasHeader: rapid.Bool().Draw(t, "has header")}
		want := pbRange(&m.Range)
		if !m.HasHeader {
			want.Header = nil
		}
		checkEncoding(t, m, &pb.RangeStreamResponse{RangeResponse: want})
	})
	check("watch", func(t *rapid.T) {
		m := &wire.WatchResponse{
			Header: anyHeader(t), WatchID: anyInt64.Draw(t, "id"),
			Created: rapid.Bool().Draw(t, "created"), Canceled: rapid.Bool().Draw(t, "canceled"),
			Fragment: rapid.Bool().Draw(t, "fragment"), CompactRevision: anyInt64.Draw(t, "compact revision"),
			CancelReason: rapid.String().Draw(t, "reason"),
		}
		want := &pb.WatchResponse{
			Header: pbHeader(m.Header), WatchId: m.WatchID, Created: m.Created, Canceled: m.Canceled,
			Fragment: m.Fragment, CompactRevision: m.CompactRevision, CancelReason: m.CancelReason,
		}
		for range rapid.IntRange(0, 3).Draw(t, "events") {
			data, event := anyEvent(t)
			m.Events, want.Events = append(m.Events, data), append(want.Events, event)
		}
		checkEncoding(t, m, want)
	})
}

func TestMarshalToRefusesWrongSize(t *testing.T) {
	m := &wire.PutResponse{Header: wire.Header{Revision: 5}}
	for _, size := range []int{m.Size() - 1, m.Size() + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic with %d bytes for a message of %d", size, m.Size())
				}
			}()
			m.MarshalTo(make([]byte, size))
		}()
	}
}
