// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// client is a set of connections to the members of one server, which concurrent callers share by their number.
type client struct {
	conns []*grpc.ClientConn
	kvs   []pb.KVClient
}

// dial returns a client of n connections, spread evenly over addresses. They are made when first used, and
// made again quickly.
func dial(addresses []string, n int) (*client, error) {
	c := new(client)
	for i := range n {
		conn, err := grpc.NewClient("passthrough:///"+addresses[i%len(addresses)],
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32), grpc.WaitForReady(true)),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 2 * time.Millisecond},
				MinConnectTimeout: time.Second,
			}),
		)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.conns = append(c.conns, conn)
		c.kvs = append(c.kvs, pb.NewKVClient(conn))
	}
	return c, nil
}

// conn returns the connection of caller i.
func (c *client) conn(i int) *grpc.ClientConn { return c.conns[i%len(c.conns)] }

// kv returns the stub of caller i.
func (c *client) kv(i int) pb.KVClient { return c.kvs[i%len(c.kvs)] }

func (c *client) close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// put puts a value as caller i.
func (c *client) put(ctx context.Context, i int, key string, value []byte) error {
	_, err := c.kv(i).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
	return err
}
