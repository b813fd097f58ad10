// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/sqlstore/wire"
)

// recorder is a KV and Watch service that keeps the last request and answers what it is told to.
type recorder struct {
	pb.UnimplementedWatchServer

	request proto.Message // as decoded
	raw     []byte
	entry   []byte

	rangeResponse  *wire.RangeResponse
	putResponse    *wire.PutResponse
	deleteResponse *wire.DeleteRangeResponse
	txnResponse    *wire.TxnResponse
	chunks         []*wire.RangeStreamResponse
	watchResponses []*wire.WatchResponse
}

var errRefused = errors.New("refused")

func (s *recorder) Range(_ context.Context, r *codec.Range) (*wire.RangeResponse, error) {
	s.request, s.raw = proto.Clone(&r.Msg), r.Raw
	return s.rangeResponse, nil
}

func (s *recorder) RangeStream(r *codec.Range, stream grpc.ServerStream) error {
	s.request, s.raw = proto.Clone(&r.Msg), r.Raw
	for _, chunk := range s.chunks {
		if err := stream.SendMsg(chunk); err != nil {
			return err
		}
	}
	return nil
}

func (s *recorder) Put(_ context.Context, r *codec.Put) (*wire.PutResponse, error) {
	s.request, s.raw, s.entry = proto.Clone(&r.Msg), r.Raw, r.Entry(wire.EntryHeader{ID: 77})
	return s.putResponse, nil
}

func (s *recorder) DeleteRange(_ context.Context, r *codec.DeleteRange) (*wire.DeleteRangeResponse, error) {
	s.request, s.raw, s.entry = proto.Clone(&r.Msg), r.Raw, r.Entry(wire.EntryHeader{ID: 77})
	return s.deleteResponse, nil
}

func (s *recorder) Txn(_ context.Context, r *codec.Txn) (*wire.TxnResponse, error) {
	s.request, s.raw, s.entry = proto.Clone(&r.Msg), r.Raw, r.Entry(wire.EntryHeader{ID: 77})
	return s.txnResponse, nil
}

func (s *recorder) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	s.request = proto.Clone(r)
	return nil, errRefused
}

func (s *recorder) Watch(stream pb.Watch_WatchServer) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	s.request = proto.Clone(request)
	for _, response := range s.watchResponses {
		if err := stream.SendMsg(response); err != nil {
			return err
		}
	}
	return nil
}

// connect starts a server with the codec and returns a connection by which clients use it.
func connect(t testing.TB, s *recorder, options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.ForceServerCodecV2(codec.Codec{}))...)
	codec.RegisterKVServer(server, s)
	pb.RegisterWatchServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// keyValues returns encoded KeyValues with values of this length.
func keyValues(n, length int) [][]byte {
	var kvs [][]byte
	for i := range n {
		kvs = append(kvs, wire.AppendKeyValue(nil, wire.KeyValue{
			Key: fmt.Appendf(nil, "/registry/pods/default/%06d", i), Value: bytes.Repeat([]byte{byte(i)}, length),
			CreateRevision: 5, ModRevision: int64(i) + 6, Version: 2,
		}))
	}
	return kvs
}

var header = wire.Header{ClusterID: 1 << 63, MemberID: 1<<63 + 1, Revision: 900, RaftTerm: 2}

func equal(t *testing.T, name string, got proto.Message, wantBytes []byte) {
	t.Helper()
	want := got.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(wantBytes, want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("%s: got %.300v\nwant %.300v", name, got, want)
	}
}

func (s *recorder) sawRequest(t *testing.T, sent proto.Message, entry *pb.InternalRaftRequest) {
	t.Helper()
	if !proto.Equal(s.request, sent) {
		t.Errorf("request arrived as %v, was %v", s.request, sent)
	}
	raw, err := proto.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.raw, raw) {
		t.Errorf("raw request is %x, want %x", s.raw, raw)
	}
	if entry == nil {
		return
	}
	entry.Header = &pb.RequestHeader{ID: 77}
	if want, err := proto.Marshal(entry); err != nil || !bytes.Equal(s.entry, want) {
		t.Errorf("entry is %x, want %x (%v)", s.entry, want, err)
	}
}

func TestKVThroughGeneratedClient(t *testing.T) {
	s := new(recorder)
	kv, ctx := pb.NewKVClient(connect(t, s)), testContext(t)

	// Responses of all three encodings: small, pooled and in parts.
	for _, kvs := range [][][]byte{nil, keyValues(1, 0), keyValues(10, 100), keyValues(200, 2000), keyValues(1000, 2000), keyValues(40000, 40)} {
		s.rangeResponse = &wire.RangeResponse{Header: header, KVs: kvs, More: true, Count: 12345}
		request := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 500, Revision: 4, KeysOnly: true}
		got, err := kv.Range(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "range", got, s.rangeResponse.AppendTo(nil))
		s.sawRequest(t, request, nil)
	}

	s.putResponse = &wire.PutResponse{Header: header, PrevKV: keyValues(1, 3000)[0]}
	put := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 100_000), Lease: 3, PrevKv: true} // several HTTP/2 frames
	got, err := kv.Put(ctx, put)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "put", got, s.putResponse.AppendTo(nil))
	s.sawRequest(t, put, &pb.InternalRaftRequest{Put: put})

	s.deleteResponse = &wire.DeleteRangeResponse{Header: header, Deleted: 3, PrevKVs: keyValues(3, 50_000)}
	del := &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, PrevKv: true}
	deleted, err := kv.DeleteRange(ctx, del)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "delete range", deleted, s.deleteResponse.AppendTo(nil))
	s.sawRequest(t, del, &pb.InternalRaftRequest{DeleteRange: del})

	s.txnResponse = &wire.TxnResponse{Header: header, Responses: []wire.ResponseOp{
		{Range: &wire.RangeResponse{Header: wire.Header{Revision: 900}, KVs: keyValues(500, 3000), Count: 500}},
		{Txn: &wire.TxnResponse{Succeeded: true, Responses: []wire.ResponseOp{{Put: s.putResponse}, {DeleteRange: s.deleteResponse}}}},
	}}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 7}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}
	done, err := kv.Txn(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "txn", done, s.txnResponse.AppendTo(nil))
	s.sawRequest(t, txn, &pb.InternalRaftRequest{Txn: txn})

	if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: 5}); err == nil || !strings.Contains(err.Error(), errRefused.Error()) {
		t.Errorf("compact: error %v, want %v", err, errRefused)
	}
}

func TestEmptyRequest(t *testing.T) {
	s := &recorder{putResponse: new(wire.PutResponse)}
	kv := pb.NewKVClient(connect(t, s))
	got, err := kv.Put(testContext(t), &pb.PutRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Header == nil {
		t.Error("a response without header")
	}
	s.sawRequest(t, &pb.PutRequest{}, &pb.InternalRaftRequest{Put: &pb.PutRequest{}})
}

// rawCodec sends bytes as they are.
type rawCodec struct{ codec.Codec }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func TestMalformedRequestIsRefused(t *testing.T) {
	s := new(recorder)
	conn := connect(t, s)
	for _, method := range []string{
		pb.KV_Range_FullMethodName, pb.KV_Put_FullMethodName, pb.KV_DeleteRange_FullMethodName, pb.KV_Txn_FullMethodName,
		pb.KV_Compact_FullMethodName, pb.KV_RangeStream_FullMethodName,
	} {
		err := conn.Invoke(testContext(t), method, []byte{1<<3 | 2, 200}, new(pb.PutResponse), grpc.ForceCodecV2(rawCodec{}))
		if status.Code(err) != codes.Internal {
			t.Errorf("%s: error %v, want code %v", method, err, codes.Internal)
		}
	}
	if s.request != nil {
		t.Errorf("service was called with %v", s.request)
	}
}

func TestStreamsThroughGeneratedClients(t *testing.T) {
	s := &recorder{
		chunks: []*wire.RangeStreamResponse{
			{Range: wire.RangeResponse{KVs: keyValues(10, 100)}},
			{Range: wire.RangeResponse{KVs: keyValues(300, 5000)}},
			{Range: wire.RangeResponse{Header: header, KVs: keyValues(1, 1), Count: 111}, HasHeader: true},
		},
		watchResponses: []*wire.WatchResponse{
			{Header: header, WatchID: 4, Created: true},
			{Header: header, WatchID: 4, Events: [][]byte{
				wire.AppendEvent(nil, mvccpb.PUT, keyValues(1, 1_500_000)[0], keyValues(1, 10)[0]),
				wire.AppendEvent(nil, mvccpb.DELETE, keyValues(1, 0)[0], nil),
			}},
			{Header: header, WatchID: 4, Canceled: true, CompactRevision: 8, CancelReason: "no ünicode lost"},
		},
	}
	conn, ctx := connect(t, s), testContext(t)
	request := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	ranges, err := pb.NewKVClient(conn).RangeStream(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range s.chunks {
		got, err := ranges.Recv()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "chunk", got, chunk.AppendTo(nil))
		if (got.RangeResponse.Header != nil) != chunk.HasHeader {
			t.Errorf("header %v, want one: %t", got.RangeResponse.Header, chunk.HasHeader)
		}
	}
	if _, err := ranges.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last chunk: %v", err)
	}
	s.sawRequest(t, request, nil)

	watch, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}
	if err := watch.Send(create); err != nil {
		t.Fatal(err)
	}
	for _, response := range s.watchResponses {
		got, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "watch", got, response.AppendTo(nil))
	}
	if !proto.Equal(s.request, create) {
		t.Errorf("watch request arrived as %v", s.request)
	}
}

// A cancel reason that is not UTF-8 would make the client drop the connection.
func TestInvalidCancelReasonIsRefused(t *testing.T) {
	s := &recorder{watchResponses: []*wire.WatchResponse{{CancelReason: "\xff"}}}
	watch, err := pb.NewWatchClient(connect(t, s)).Watch(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Send(new(pb.WatchRequest)); err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err == nil {
		t.Errorf("received %v", got)
	}
}

// Interceptors see the service's own messages and may pass others on.
func TestInterceptors(t *testing.T) {
	s := &recorder{putResponse: &wire.PutResponse{Header: header}}
	var seen []string
	unary := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		seen = append(seen, fmt.Sprintf("%s %T", info.FullMethod, req))
		if info.Server != any(s) {
			t.Errorf("server is %T", info.Server)
		}
		return handler(ctx, &codec.Put{Msg: pb.PutRequest{Key: []byte("another")}, Raw: []byte("\x0a\x07another")})
	}
	stream := func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		seen = append(seen, info.FullMethod)
		return handler(srv, ss)
	}
	conn, ctx := connect(t, s, grpc.UnaryInterceptor(unary), grpc.StreamInterceptor(stream)), testContext(t)
	kv := pb.NewKVClient(conn)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	another := &pb.PutRequest{Key: []byte("another")}
	s.sawRequest(t, another, &pb.InternalRaftRequest{Put: another})
	ranges, err := kv.RangeStream(ctx, &pb.RangeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ranges.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("empty stream: %v", err)
	}
	want := []string{"/etcdserverpb.KV/Put *codec.Put", "/etcdserverpb.KV/RangeStream"}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("interceptors saw %v, want %v", seen, want)
	}
}

func TestCompressedMessages(t *testing.T) {
	s := &recorder{rangeResponse: &wire.RangeResponse{Header: header, KVs: keyValues(1000, 2000)}}
	request := &pb.RangeRequest{Key: []byte("k")}
	got, err := pb.NewKVClient(connect(t, s)).Range(testContext(t), request, grpc.UseCompressor(gzip.Name))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "range", got, s.rangeResponse.AppendTo(nil))
	s.sawRequest(t, request, nil)
}
