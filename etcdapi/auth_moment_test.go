// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/raftlog"
)

// heldLog holds up one linearizable read.
type heldLog struct {
	*raftlog.Log
	armed            atomic.Bool
	entered, release chan struct{}
}

func (h *heldLog) ReadIndex(ctx context.Context) error {
	if h.armed.CompareAndSwap(true, false) {
		close(h.entered)
		<-h.release
	}
	return h.Log.ReadIndex(ctx)
}

// secretBy are the ways to read a key.
var secretBy = map[string]func(context.Context, pb.KVClient) error{
	"Range": func(ctx context.Context, kv pb.KVClient) error {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("secret")})
		return err
	},
	"a list": func(ctx context.Context, kv pb.KVClient) error {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("s"), RangeEnd: []byte("t")})
		return err
	},
	"Txn": func(ctx context.Context, kv pb.KVClient) error {
		read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("secret")}}}
		_, err := kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{read}})
		return err
	},
	"RangeStream": func(ctx context.Context, kv pb.KVClient) error {
		stream, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("secret")})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	},
}

// A read that began while everybody might read, and waited until authentication was enabled, is refused: it would show
// what was written since.
func TestReadBegunBeforeAuthentication(t *testing.T) {
	for name, read := range secretBy {
		t.Run(name, func(t *testing.T) {
			held := &heldLog{entered: make(chan struct{}), release: make(chan struct{})}
			n := startNodeOver(t, t.TempDir(), Options{}, func(l *raftlog.Log) Log {
				held.Log = l
				return held
			})
			ctx, anonymous := testContext(t), n.client().ActiveConnection()
			held.armed.Store(true)
			done := make(chan error, 1)
			go func() { done <- read(ctx, pb.NewKVClient(anonymous)) }()
			<-held.entered
			enableAuth(t, n.client())
			root, err := clientv3.New(clientv3.Config{
				Endpoints: []string{n.addr}, Username: "root", Password: "root", DialTimeout: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if _, err := root.Put(ctx, "secret", "of later"); err != nil {
				t.Fatal(err)
			}
			close(held.release)
			if err := rpctypes.Error(<-done); err != rpctypes.ErrUserEmpty {
				t.Errorf("an anonymous read ends with %v, want %v", err, rpctypes.ErrUserEmpty)
			}
		})
	}
}
