// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzWatchStream sends any requests, each with its length, over a stream of a server. Creations are answered in their
// order; when the stream has ended nothing of it is left.
func FuzzWatchStream(f *testing.F) {
	a := []byte("a")
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	cancel := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 7}}}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	for _, script := range [][]*pb.WatchRequest{
		{create(&pb.WatchCreateRequest{Key: a, WatchId: 7, PrevKv: true}), cancel, create(&pb.WatchCreateRequest{Key: a, WatchId: 7})},
		{create(&pb.WatchCreateRequest{Key: a, RangeEnd: []byte{0}, StartRevision: 1, Fragment: true, ProgressNotify: true}), progress, cancel},
		{create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: a}), create(&pb.WatchCreateRequest{StartRevision: -1}), progress},
		{create(&pb.WatchCreateRequest{WatchId: -1}), create(&pb.WatchCreateRequest{WatchId: -1}), {}},
	} {
		var data []byte
		for _, r := range script {
			message, err := proto.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			data = protowire.AppendBytes(data, message)
		}
		f.Add(data)
	}
	n := startNode(f, f.TempDir(), Options{})
	client := n.client()
	for _, key := range []string{"a", "b", "a"} {
		if _, err := client.Put(f.Context(), key, "value"); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream, err := pb.NewWatchClient(client.ActiveConnection()).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		creations := 0
		for len(data) > 0 {
			message, size := protowire.ConsumeBytes(data)
			request := new(pb.WatchRequest)
			if size < 0 || proto.Unmarshal(message, request) != nil {
				break
			}
			data = data[size:]
			if request.GetCreateRequest() != nil {
				creations++
			}
			if err := stream.Send(request); err != nil {
				t.Fatal(err)
			}
		}
		wantCreations(t, stream, creations)
		cancel()
		eventually(t, "nothing of the stream is left", func() bool {
			stats := n.store.Stats()
			return stats.WatchStreams == 0 && stats.Watchers == 0
		})
	})
}

// wantCreations receives until so many creations, and one of our own, are answered; the last one is ours.
func wantCreations(t *testing.T, stream pb.Watch_WatchClient, creations int) {
	t.Helper()
	const ours = 1 << 40
	last := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("z"), WatchId: ours}}}
	if err := stream.Send(last); err != nil {
		t.Fatal(err)
	}
	for answered := 0; ; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatalf("after %d of %d answers: %v", answered, creations, err)
		}
		if !r.Created {
			continue
		}
		answered++
		if answered == creations+1 {
			return
		}
		if answered > creations+1 {
			t.Fatalf("%d creations have %d answers", creations, answered)
		}
	}
}

// FuzzPeerQuestion asks a member anything that another member could.
func FuzzPeerQuestion(f *testing.F) {
	for _, path := range []string{
		"/members", "/members/promote/1", "/version", "/leases", "/leases/internal", "/downgrade/enabled", "/members/hashkv", "/raft", "/raft/probing", "/metrics", "//", "/%2e",
	} {
		f.Add(http.MethodGet, path, "", []byte(`{"revision":1}`))
		f.Add(http.MethodPost, path, "1", []byte("\x08\x01"))
	}
	n := startNode(f, f.TempDir(), Options{})
	handler := n.PeerHandler(http.NotFoundHandler())
	f.Fuzz(func(t *testing.T, method, path, cluster string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://member"+path, bytes.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set(clusterIDHeader, cluster)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if ctx.Err() != nil || w.Code < 200 || w.Code >= 600 {
			t.Errorf("status %d, %v", w.Code, ctx.Err())
		}
	})
}
