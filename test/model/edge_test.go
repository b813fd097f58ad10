// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/test/harness"
	"keelson.io/keelson/test/model"
)

// What the random stream cannot have: ids that the server chooses, leases that
// end while one looks, and requests of megabytes.

// agree asks all servers the same and wants equal answers.
func agree(t *testing.T, targets []*target, req operation) answer {
	t.Helper()
	first := targets[0].ask(req)
	for _, tg := range targets[1:] {
		if got := tg.ask(req); !got.equal(first) {
			t.Errorf("%.300s\n%s: %.300v\n%s: %.300v", describe(req), targets[0].name, first, tg.name, got)
		}
	}
	return first
}

// A lease has at least two seconds, and its id is the server's to choose if
// the client does not.
func TestLeaseGrantLimits(t *testing.T) {
	targets := servers(t)
	for i, ttl := range []int64{-1 << 63, -1, 0, 1, 2, 3} {
		a := agree(t, targets, &pb.LeaseGrantRequest{ID: 100 + int64(i), TTL: ttl})
		if got := a.msg.(*pb.LeaseGrantResponse).TTL; got != max(ttl, model.MinLeaseTTL) {
			t.Errorf("a lease of %d s has %d s", ttl, got)
		}
	}
	for _, tg := range targets {
		a := tg.ask(&pb.LeaseGrantRequest{TTL: 1000})
		if a.err != nil {
			t.Fatalf("%s: %v", tg.name, a.err)
		}
		if id := a.msg.(*pb.LeaseGrantResponse).ID; id <= 0 {
			t.Errorf("%s chose the lease id %d", tg.name, id)
		}
	}
}

// A request may have 1.5 MiB, and 512 KiB more before it is not even read.
func TestRequestSize(t *testing.T) {
	targets := servers(t)
	for _, size := range []int{
		model.MaxRequestBytes - 100, model.MaxRequestBytes + 1, model.MaxRequestBytes + 256<<10,
		model.MaxRequestBytes + 1<<20,
	} {
		value := bytes.Repeat([]byte("v"), size)
		put := &pb.PutRequest{Key: []byte("k"), Value: value}
		a := agree(t, targets, put)
		if wantOK := size < model.MaxRequestBytes; wantOK != (a.err == nil) {
			t.Errorf("a value of %d bytes: %v", size, a)
		}
		agree(t, targets, &pb.TxnRequest{Success: []*pb.RequestOp{requestPut(put)}})
	}
	agree(t, targets, &pb.RangeRequest{Key: []byte("k"), CountOnly: true})
}

// A stream of ranges answers in chunks whatever the size.
func TestLargeRangeStream(t *testing.T) {
	targets := servers(t)
	value := bytes.Repeat([]byte("v"), 300<<10)
	for i := range 40 {
		agree(t, targets, &pb.PutRequest{Key: fmt.Appendf(nil, "big/%02d", i), Value: value})
	}
	for _, limit := range []int64{0, 1, 17, 40, 41} {
		agree(t, targets, rangeStream{&pb.RangeRequest{Key: []byte("big/"), RangeEnd: []byte("big0"), Limit: limit}})
	}
	for _, tg := range targets {
		stream, err := tg.kv.RangeStream(t.Context(), &pb.RangeRequest{Key: []byte("big/"), RangeEnd: []byte("big0")})
		if err != nil {
			t.Fatal(err)
		}
		chunk, err := stream.Recv()
		if err != nil {
			t.Fatalf("%s: %v", tg.name, err)
		}
		if n := len(chunk.RangeResponse.Kvs); n == 40 {
			t.Errorf("%s: %d values of 300 KiB in one chunk", tg.name, n)
		}
	}
}

// A watch that asked for it gets one large revision in fragments, each below
// what is read of a request, and the last one says that it is.
func TestWatchFragments(t *testing.T) {
	for _, tg := range servers(t) {
		t.Run(tg.name, func(t *testing.T) {
			const count = 12
			stream, err := tg.watch.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			create := &pb.WatchCreateRequest{Key: []byte("f"), RangeEnd: []byte("g"), Fragment: true, PrevKv: true}
			if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
				t.Fatal(err)
			}
			if resp, err := stream.Recv(); err != nil || !resp.Created {
				t.Fatalf("%v, %v", resp, err)
			}
			for i := range count {
				value := bytes.Repeat([]byte{'a' + byte(i)}, 500<<10)
				if a := tg.ask(&pb.PutRequest{Key: fmt.Appendf(nil, "f%02d", i), Value: value}); a.err != nil {
					t.Fatal(a)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
			}
			// The events carry the deleted values: 6 MB in one revision.
			if a := tg.ask(&pb.DeleteRangeRequest{Key: []byte("f"), RangeEnd: []byte("g")}); a.err != nil {
				t.Fatal(a)
			}
			for n, fragments := 0, 0; n < count; fragments++ {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range resp.Events {
					if want := fmt.Sprintf("f%02d", n); string(e.Kv.Key) != want || len(e.PrevKv.GetValue()) != 500<<10 {
						t.Fatalf("event %d is of %s, with a previous value of %d bytes", n, e.Kv.Key, len(e.PrevKv.GetValue()))
					}
					n++
				}
				if resp.Fragment != (n < count) || proto.Size(resp) > model.MaxRequestBytes+512<<10 {
					t.Fatalf("after %d of %d events: fragment %v, %d bytes", n, count, resp.Fragment, proto.Size(resp))
				}
				if n == count && fragments < 2 {
					t.Errorf("all in %d responses", fragments+1)
				}
			}
		})
	}
}

// A key that one transaction deletes and puts again survives a compaction at
// just that revision. An etcd loses it, so the model alone is the judge.
func TestDeleteFromHereThenPut(t *testing.T) {
	if !harness.HasKeelson() {
		t.Skip("there is no keelson yet")
	}
	keelson := newTarget(t, "keelson", harness.Start(t, harness.Keelson, harness.Options{}))
	r := newRun(t, 0, []*target{keelson})
	b := []byte("b")
	for _, op := range []operation{
		watchCreate{0, &pb.WatchCreateRequest{Key: b, PrevKv: true}},
		&pb.PutRequest{Key: b, Value: []byte("old")},
		&pb.TxnRequest{Success: []*pb.RequestOp{
			requestDelete(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}),
			requestPut(&pb.PutRequest{Key: b, Value: []byte("new")}),
			requestRange(&pb.RangeRequest{Key: b}),
		}},
		&pb.CompactionRequest{Revision: 3, Physical: true},
		&pb.RangeRequest{Key: b},
		&pb.HashKVRequest{},
		watchCreate{1, &pb.WatchCreateRequest{Key: b, StartRevision: 3, PrevKv: true}},
		restart{},
		&pb.RangeRequest{Key: b},
		&pb.RangeRequest{Key: b, Revision: 3},
		&pb.HashKVRequest{},
	} {
		r.do(op)
	}
}

// A method that no etcd has is refused as gRPC refuses it.
func TestUnknownMethod(t *testing.T) {
	targets := servers(t)
	for _, method := range []string{"/etcdserverpb.KV/Nothing", "/no.Service/Nothing"} {
		var first error
		for _, tg := range targets {
			err := tg.conn.Invoke(t.Context(), method, &pb.PutRequest{}, &pb.PutResponse{})
			if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "Nothing") && !strings.Contains(err.Error(), "no.Service") {
				t.Errorf("%s: %s: %v", tg.name, method, err)
			}
			if first == nil {
				first = err
			}
			if err.Error() != first.Error() {
				t.Errorf("%s: %s: %v, not %v", tg.name, method, err, first)
			}
		}
	}
}
