// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"math"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Client connects etcd's client to the server. It is closed with the test.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{s.Endpoint()},
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
		TLS:         s.opts.TLS,
	})
	if err != nil {
		t.Fatalf("harness: connect to %s: %v", s.opts.Name, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Conn connects plain gRPC to the server, for the generated stubs: no retries
// and no errors translated. It is closed with the test.
func (s *Server) Conn(t testing.TB) *grpc.ClientConn {
	t.Helper()
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 10*time.Millisecond, 200*time.Millisecond
	security := insecure.NewCredentials()
	if s.opts.TLS != nil {
		security = credentials.NewTLS(s.opts.TLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.Endpoint(),
		grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatalf("harness: connect to %s: %v", s.opts.Name, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// AwaitStorageVersion waits until Status tells the newest storage version: an etcd whose first attempt to note it was
// too early tells 3.5.0 for seconds. No user may have to say who it is.
func (s *Server) AwaitStorageVersion(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := s.Client(t)
	for {
		status, err := client.Status(ctx, s.Endpoint())
		if err != nil {
			t.Fatalf("harness: the storage version of %s: %v", s.opts.Name, err)
		}
		if status.StorageVersion == storageVersion {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

// storageVersion is that of the etcd that is compared with, and keelson's.
const storageVersion = "3.7.0"
