// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"keelson.io/keelson/sqlstore/wire"
)

// decoder is one of the package's decoders and the message that it decodes.
type decoder struct {
	name   string
	schema schema
	decode func(data []byte) (got proto.Message, want proto.Message, err error)
}

// decoderOf decodes into a message that is not empty: what it held must not show.
func decoderOf[T any, M interface {
	*T
	proto.Message
}](name string, s schema, decode func([]byte, M) error, used func(M)) decoder {
	return decoder{name, s, func(data []byte) (proto.Message, proto.Message, error) {
		got := M(new(T))
		used(got)
		err := decode(data, got)
		return got, M(new(T)), err
	}}
}

var (
	putDecoder = decoderOf("put", flat13, wire.UnmarshalPut,
		func(m *pb.PutRequest) { m.Key, m.PrevKv = []byte("old"), true })
	rangeDecoder = decoderOf("range", flat13, wire.UnmarshalRange,
		func(m *pb.RangeRequest) { m.Limit = 5 })
	deleteRangeDecoder = decoderOf("delete_range", flat13, wire.UnmarshalDeleteRange,
		func(m *pb.DeleteRangeRequest) { m.PrevKv = true })
	txnDecoder = decoderOf("txn", txnSchema, wire.UnmarshalTxn,
		func(m *pb.TxnRequest) { m.Compare = []*pb.Compare{{}} })
	entryDecoder = decoderOf("entry", internalSchema, wire.UnmarshalInternal,
		func(m *pb.InternalRaftRequest) { m.Put = &pb.PutRequest{Lease: 1} })
)

// sameAsProtobuf checks that a decoder accepts what protobuf accepts and makes the same of it.
func sameAsProtobuf(t rapid.TB, d decoder, data []byte) {
	t.Helper()
	input := bytes.Clone(data)
	got, want, err := d.decode(data)
	wantErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, want)
	switch {
	case (err == nil) != (wantErr == nil):
		t.Fatalf("%s %x: error %v, protobuf's %v", d.name, data, err, wantErr)
	case err != nil:
		return
	}
	if m, ok := got.(*pb.InternalRaftRequest); ok {
		dropUnknown(m) // a payload that was left to protobuf still has them
	}
	if !proto.Equal(got, want) {
		t.Fatalf("%s %x:\ngot  %v\nwant %v", d.name, data, got, want)
	}
	if !bytes.Equal(data, input) {
		t.Fatalf("%s: input changed from %x to %x", d.name, input, data)
	}
}

func dropUnknown(m *pb.InternalRaftRequest) {
	data, err := proto.Marshal(m)
	if err == nil {
		err = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
	}
	if err != nil {
		panic(err)
	}
}

func TestDecodersAgreeWithProtobuf(t *testing.T) {
	for _, d := range []decoder{putDecoder, rangeDecoder, deleteRangeDecoder, txnDecoder, entryDecoder} {
		t.Run(d.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				sameAsProtobuf(t, d, damage(t, fields(t, d.schema, 5)))
			})
		})
	}
}

// Every prefix of a valid encoding, and every single changed bit, is either decoded as protobuf
// does or refused.
func TestDecodersOnDamagedInput(t *testing.T) {
	txn := guardedUpdate([]byte("/registry/pods/a/b"), bytes.Repeat([]byte("v"), 200))
	txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: guardedUpdate([]byte("k"), nil)}})
	raw := marshal(t, txn)
	damaged := func(d decoder, data []byte) {
		for n := range data {
			sameAsProtobuf(t, d, data[:n:n])
			for bit := range 8 {
				flipped := bytes.Clone(data)
				flipped[n] ^= 1 << bit
				sameAsProtobuf(t, d, flipped)
			}
		}
	}
	damaged(txnDecoder, raw)
	damaged(entryDecoder, wire.AppendInternal(nil, wire.EntryHeader{ID: 1 << 40}, wire.KindTxn, raw))
}

func TestDecodedFieldsAliasInput(t *testing.T) {
	raw := marshal(t, guardedUpdate([]byte("key"), []byte("value")))
	data := wire.AppendInternal(nil, wire.EntryHeader{ID: 9}, wire.KindTxn, raw)
	var r pb.InternalRaftRequest
	if err := wire.UnmarshalInternal(data, &r); err != nil {
		t.Fatal(err)
	}
	put := r.Txn.Success[0].GetRequestPut()
	copy(data[bytes.Index(data, []byte("value")):], "VALUE")
	if string(put.Value) != "VALUE" {
		t.Errorf("value is %q: it was copied", put.Value)
	}
	if cap(put.Value) != len(put.Value) {
		t.Errorf("an append to the value would write into the entry")
	}
}

// nestedTxn returns a transaction whose messages nest levels deep: it, an operation, a
// transaction, and so on.
func nestedTxn(levels int) []byte {
	parts := make([][]byte, levels) // built inside out; each part is a tag and a length
	size := 0
	for i := levels - 2; i >= 0; i-- {
		field := protowire.Number(4) // an operation holds a transaction
		if i%2 == 0 {
			field = 2 // a transaction holds an operation
		}
		parts[i] = protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(size))
		size += len(parts[i])
	}
	return bytes.Join(parts, nil)
}

func TestDepthIsBounded(t *testing.T) {
	deepest, tooDeep := nestedTxn(wire.MaxRequestDepth), nestedTxn(wire.MaxRequestDepth+1)
	var m pb.TxnRequest
	if err := wire.UnmarshalTxn(deepest, &m); err != nil {
		t.Errorf("%d levels: %v", wire.MaxRequestDepth, err)
	}
	if err := wire.UnmarshalTxn(tooDeep, &m); !errors.Is(err, wire.ErrTooDeep) {
		t.Errorf("%d levels: error %v, want %v", wire.MaxRequestDepth+1, err, wire.ErrTooDeep)
	}
	// What a client may send, etcd can read from the log, and so can we.
	sameAsProtobuf(t, entryDecoder, wire.AppendInternal(nil, wire.EntryHeader{ID: 1}, wire.KindTxn, deepest))
	sameAsProtobuf(t, entryDecoder, wire.AppendInternal(nil, wire.EntryHeader{ID: 1}, wire.KindTxn, tooDeep))
	for levels := 1; levels < 10; levels++ {
		sameAsProtobuf(t, txnDecoder, nestedTxn(levels))
	}
	for _, depth := range []int{10, protowire.DefaultRecursionLimit, protowire.DefaultRecursionLimit + 1, protowire.DefaultRecursionLimit + 2} {
		group := append(bytes.Repeat([]byte{9<<3 | 3}, depth), bytes.Repeat([]byte{9<<3 | 4}, depth)...)
		for _, d := range []decoder{putDecoder, deleteRangeDecoder, txnDecoder} {
			sameAsProtobuf(t, d, group)
		}
	}
}

func TestStringsMustBeUTF8(t *testing.T) {
	header := protowire.AppendBytes([]byte{2<<3 | 2}, []byte("\xff"))
	data := protowire.AppendBytes(protowire.AppendTag(nil, 100, protowire.BytesType), header)
	var r pb.InternalRaftRequest
	if err := wire.UnmarshalInternal(data, &r); !errors.Is(err, wire.ErrInvalidUTF8) {
		t.Errorf("error %v, want %v", err, wire.ErrInvalidUTF8)
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
