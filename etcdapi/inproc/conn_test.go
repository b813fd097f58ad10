// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package inproc

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// leases answers with what it is asked, and stores nothing.
type leases struct {
	pb.UnimplementedLeaseServer
	// streams ends a stream after its first request.
	streams func(pb.Lease_LeaseKeepAliveServer) error
}

var errRefused = status.Error(codes.FailedPrecondition, "refused")

func (l *leases) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL < 0 {
		return nil, errRefused
	}
	return &pb.LeaseGrantResponse{ID: r.ID, Error: metadata.ValueFromIncomingContext(ctx, "token")[0]}, nil
}

func (l *leases) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error { return l.streams(stream) }

func connect(l *leases) pb.LeaseClient {
	conn := NewConn()
	pb.RegisterLeaseServer(conn, l)
	return pb.NewLeaseClient(conn)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestInvoke wants the method to see the caller's context, and the caller the
// method's answer or its very error.
func TestInvoke(t *testing.T) {
	client := connect(&leases{})
	ctx := metadata.NewIncomingContext(testContext(t), metadata.Pairs("token", "secret"))
	r, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7})
	if err != nil || r.ID != 7 || r.Error != "secret" {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: -1}); !errors.Is(err, errRefused) {
		t.Errorf("refused with %v", err)
	}
	conn := NewConn()
	if _, err := pb.NewLeaseClient(conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("without a service: %v", err)
	}
	if _, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx); status.Code(err) != codes.Unimplemented {
		t.Errorf("stream without a service: %v", err)
	}
}

// TestStream wants requests and answers in order, then the end as the method has
// it, after all that it has sent.
func TestStream(t *testing.T) {
	for _, test := range []struct {
		name     string
		returned error
		want     error
	}{{"success", nil, io.EOF}, {"failure", errRefused, errRefused}} {
		t.Run(test.name, func(t *testing.T) {
			client := connect(&leases{streams: func(stream pb.Lease_LeaseKeepAliveServer) error {
				for {
					r, err := stream.Recv()
					if errors.Is(err, io.EOF) {
						return test.returned
					}
					if err != nil {
						return err
					}
					if err := stream.Send(&pb.LeaseKeepAliveResponse{ID: r.ID}); err != nil {
						return err
					}
				}
			}})
			stream, err := client.LeaseKeepAlive(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			for id := int64(1); id <= 3; id++ {
				if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
					t.Fatal(err)
				}
				if r, err := stream.Recv(); err != nil || r.ID != id {
					t.Fatalf("%v, %v, want %d", r, err, id)
				}
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 4}); err != nil {
				t.Fatal(err)
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if r, err := stream.Recv(); err != nil || r.ID != 4 {
				t.Fatalf("%v, %v: what was sent before the end is lost", r, err)
			}
			if _, err := stream.Recv(); !errors.Is(err, test.want) {
				t.Errorf("ended with %v, want %v", err, test.want)
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{}); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("sending after the end: %v", err)
			}
		})
	}
}

// TestStreamEndsWithItsContext wants both ends to return when the client gives up.
func TestStreamEndsWithItsContext(t *testing.T) {
	served := make(chan error, 1)
	client := connect(&leases{streams: func(stream pb.Lease_LeaseKeepAliveServer) error {
		_, err := stream.Recv()
		served <- err
		return err
	}})
	ctx, cancel := context.WithCancel(testContext(t))
	stream, err := client.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-served; status.Code(err) != codes.Canceled {
		t.Errorf("the method was told %v", err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the client was told %v", err)
	}
}
