// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/sqlstore/wire"
)

// Each target decodes what a client sends as the server does, in two pieces, and holds it against
// protobuf: the same is refused, the same comes out, and the entry that proposes a request says
// the same again.

func FuzzRange(f *testing.F) {
	seed(f, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: -1, Revision: 7, SortOrder: 2, KeysOnly: true})
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		r, want := new(codec.Range), new(pb.RangeRequest)
		decodeAsProtobuf(t, data, cut, r, &r.Msg, want)
	})
}

func FuzzPut(f *testing.F) {
	seed(f, &pb.PutRequest{Key: []byte("a"), Value: []byte("b"), Lease: -1, PrevKv: true, IgnoreLease: true})
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		r, want := new(codec.Put), new(pb.PutRequest)
		if decodeAsProtobuf(t, data, cut, r, &r.Msg, want) {
			checkEntry(t, r, wire.AppendInternal(nil, headerOf(cut), wire.KindPut, data), headerOf(cut), &pb.InternalRaftRequest{Put: want})
		}
	})
}

func FuzzDeleteRange(f *testing.F) {
	seed(f, &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, PrevKv: true})
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		r, want := new(codec.DeleteRange), new(pb.DeleteRangeRequest)
		if decodeAsProtobuf(t, data, cut, r, &r.Msg, want) {
			checkEntry(t, r, wire.AppendInternal(nil, headerOf(cut), wire.KindDeleteRange, data), headerOf(cut), &pb.InternalRaftRequest{DeleteRange: want})
		}
	})
}

func FuzzTxn(f *testing.F) {
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}}
	inner := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 1}}},
		Success: []*pb.RequestOp{put},
	}
	seed(f, &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}, {}}})
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		r, want := new(codec.Txn), new(pb.TxnRequest)
		if decodeAsProtobuf(t, data, cut, r, &r.Msg, want) {
			checkEntry(t, r, wire.AppendInternal(nil, headerOf(cut), wire.KindTxn, data), headerOf(cut), &pb.InternalRaftRequest{Txn: want})
		}
	})
}

// known leaves out the fields that etcd's messages do not have, as wire does.
var known = proto.UnmarshalOptions{DiscardUnknown: true}

// seed adds a message, what it is without its end, and nothing at all.
func seed(f *testing.F, m proto.Message) {
	data, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint(1))
	f.Add(data[:len(data)-1], uint(1<<40))
	f.Add([]byte(nil), uint(0))
}

// decodeAsProtobuf decodes data, that comes in two pieces, into r, whose message is got, and says whether it is
// a message. It fails unless protobuf says the same and makes the same of it.
func decodeAsProtobuf(t *testing.T, data []byte, cut uint, r any, got, want proto.Message) bool {
	sent, at := bytes.Clone(data), int(cut%uint(len(data)+1))
	err := codec.Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(sent[:at]), mem.SliceBuffer(sent[at:])}, r)
	clear(sent) // grpc's to use again
	if wantErr := known.Unmarshal(data, want); (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, protobuf's is %v", err, wantErr)
	}
	if err == nil && !proto.Equal(got, want) {
		t.Fatalf("decoded %v, protobuf decodes %v", got, want)
	}
	return err == nil
}

// headerOf is an entry's, of a user or of nobody.
func headerOf(n uint) wire.EntryHeader {
	if n%2 == 0 {
		return wire.EntryHeader{ID: uint64(n)}
	}
	return wire.EntryHeader{ID: uint64(n), Username: "root", AuthRevision: uint64(n)}
}

// checkEntry holds a request's entry against one made of the request's bytes, and against the request.
func checkEntry(t *testing.T, r interface{ Entry(wire.EntryHeader) []byte }, plain []byte, h wire.EntryHeader, want *pb.InternalRaftRequest) {
	entry := r.Entry(h)
	if !bytes.Equal(entry, plain) {
		t.Fatalf("the entry is %x, want %x", entry, plain)
	}
	want.Header = &pb.RequestHeader{ID: h.ID, Username: h.Username, AuthRevision: h.AuthRevision}
	for name, unmarshal := range map[string]func(*pb.InternalRaftRequest) error{
		"wire":     func(m *pb.InternalRaftRequest) error { return wire.UnmarshalInternal(entry, m) },
		"protobuf": func(m *pb.InternalRaftRequest) error { return known.Unmarshal(entry, m) },
	} {
		got := new(pb.InternalRaftRequest)
		if err := unmarshal(got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("%s reads the entry as %v (%v), want %v", name, got, err, want)
		}
	}
}
