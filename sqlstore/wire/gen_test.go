// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"keelson.io/keelson/sqlstore/wire"
)

// schema says which fields a generated message may hold; nil sub-schemas are scalars or bytes.
type schema map[protowire.Number]schema

// The schemas of etcd's messages. Bytes and scalar fields need no difference: a generated field's
// wire type is mostly the right one for some field of that number, and sometimes not, on purpose.
var (
	flat13 = schema{1: nil, 2: nil, 3: nil, 4: nil, 5: nil, 6: nil, 7: nil, 8: nil, 9: nil, 10: nil, 11: nil, 12: nil, 13: nil}

	compareSchema   = schema{1: nil, 2: nil, 3: nil, 4: nil, 5: nil, 6: nil, 7: nil, 8: nil, 64: nil}
	requestOpSchema = schema{1: flat13, 2: flat13, 3: flat13}
	txnSchema       = schema{1: compareSchema, 2: requestOpSchema, 3: requestOpSchema}
	internalSchema  = schema{
		1: nil, 3: flat13, 4: flat13, 5: flat13, 6: txnSchema, 7: flat13, 8: flat13, 9: flat13, 10: flat13,
		11: {1: flat13}, 100: flat13, 1000: flat13, 1300: flat13,
	}
)

func init() { requestOpSchema[4] = txnSchema } // transactions nest

// fields generates the encoding of a message: its fields in any order and number, with unknown
// numbers and unexpected wire types among them.
func fields(t *rapid.T, s schema, depth int) []byte {
	var numbers []protowire.Number
	for n := protowire.Number(1); n <= 1300; n++ { // in order: rapid replays draws
		if _, ok := s[n]; ok {
			numbers = append(numbers, n)
		}
	}
	var b []byte
	for range rapid.IntRange(0, 6).Draw(t, "fields") {
		num := rapid.SampledFrom(numbers).Draw(t, "number")
		if rapid.IntRange(0, 15).Draw(t, "unknown") == 0 {
			num = protowire.Number(rapid.IntRange(1, 70).Draw(t, "any number"))
		}
		if sub := s[num]; sub != nil && depth > 0 && rapid.IntRange(0, 15).Draw(t, "scalar") > 0 {
			b = protowire.AppendTag(b, num, protowire.BytesType)
			b = protowire.AppendBytes(b, fields(t, sub, depth-1))
			continue
		}
		b = appendValue(t, b, num, depth)
	}
	return b
}

func appendValue(t *rapid.T, b []byte, num protowire.Number, depth int) []byte {
	switch rapid.SampledFrom([]int{0, 0, 0, 2, 2, 2, 1, 5, 3}).Draw(t, "wire type") {
	case 0:
		b = protowire.AppendTag(b, num, protowire.VarintType)
		return protowire.AppendVarint(b, uint64(anyInt64.Draw(t, "varint")))
	case 1:
		b = protowire.AppendTag(b, num, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, 77)
	case 5:
		b = protowire.AppendTag(b, num, protowire.Fixed32Type)
		return protowire.AppendFixed32(b, 77)
	case 3:
		if depth > 0 {
			b = protowire.AppendTag(b, num, protowire.StartGroupType)
			b = append(b, fields(t, flat13, depth-1)...)
			return protowire.AppendTag(b, num, protowire.EndGroupType)
		}
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, anyBytes.Draw(t, "bytes"))
}

// damage changes one byte of b, or cuts it, one time in four.
func damage(t *rapid.T, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	switch rapid.IntRange(0, 7).Draw(t, "damage") {
	case 0:
		return b[:rapid.IntRange(0, len(b)-1).Draw(t, "length")]
	case 1:
		b[rapid.IntRange(0, len(b)-1).Draw(t, "position")] = rapid.Byte().Draw(t, "byte")
	}
	return b
}

var (
	anyBytes = rapid.SliceOfN(rapid.Byte(), 0, 20)
	anyInt64 = rapid.OneOf(rapid.Int64Range(-1, 3), rapid.Int64())
	anyUint  = rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64())
)

func anyHeader(t *rapid.T) wire.Header {
	return wire.Header{
		ClusterID: anyUint.Draw(t, "cluster"), MemberID: anyUint.Draw(t, "member"),
		Revision: anyInt64.Draw(t, "revision"), RaftTerm: anyUint.Draw(t, "term"),
	}
}

func anyKeyValue(t *rapid.T) wire.KeyValue {
	return wire.KeyValue{
		Key: anyBytes.Draw(t, "key"), Value: anyBytes.Draw(t, "value"),
		CreateRevision: anyInt64.Draw(t, "create"), ModRevision: anyInt64.Draw(t, "mod"),
		Version: anyInt64.Draw(t, "version"), Lease: anyInt64.Draw(t, "lease"),
	}
}

// anyKVs generates encoded KeyValues. Some lists are big enough for lengths of several bytes.
func anyKVs(t *rapid.T) [][]byte {
	var kvs [][]byte
	for range rapid.IntRange(0, 4).Draw(t, "kvs") {
		kv := anyKeyValue(t)
		if rapid.IntRange(0, 9).Draw(t, "big") == 0 {
			kv.Value = make([]byte, rapid.IntRange(100, 20000).Draw(t, "value length"))
		}
		kvs = append(kvs, wire.AppendKeyValue(nil, kv))
	}
	return kvs
}

func anyRangeResponse(t *rapid.T) *wire.RangeResponse {
	return &wire.RangeResponse{
		Header: anyHeader(t), KVs: anyKVs(t), More: rapid.Bool().Draw(t, "more"), Count: anyInt64.Draw(t, "count"),
	}
}

func anyPutResponse(t *rapid.T) *wire.PutResponse {
	m := &wire.PutResponse{Header: anyHeader(t)}
	switch rapid.IntRange(0, 2).Draw(t, "prev") {
	case 0:
		m.PrevKV = wire.AppendKeyValue(nil, anyKeyValue(t))
	case 1:
		m.PrevKV = []byte{} // there, with all its fields zero
	}
	return m
}

func anyDeleteRangeResponse(t *rapid.T) *wire.DeleteRangeResponse {
	return &wire.DeleteRangeResponse{Header: anyHeader(t), Deleted: anyInt64.Draw(t, "deleted"), PrevKVs: anyKVs(t)}
}

func anyTxnResponse(t *rapid.T, depth int) *wire.TxnResponse {
	m := &wire.TxnResponse{Header: anyHeader(t), Succeeded: rapid.Bool().Draw(t, "succeeded")}
	for range rapid.IntRange(0, 3).Draw(t, "responses") {
		var op wire.ResponseOp
		switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
		case kind == 0:
			op.Range = anyRangeResponse(t)
		case kind == 1:
			op.Put = anyPutResponse(t)
		case kind == 2:
			op.DeleteRange = anyDeleteRangeResponse(t)
		case kind == 3 && depth > 0:
			op.Txn = anyTxnResponse(t, depth-1)
		}
		m.Responses = append(m.Responses, op)
	}
	return m
}

// guardedUpdate is the transaction by which Kubernetes updates an object.
func guardedUpdate(key, value []byte) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 123456},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: 7587},
		}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: key},
		}}},
	}
}
