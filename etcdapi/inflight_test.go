// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stallGate holds up who passes while it is shut.
type stallGate struct{ shut sync.Mutex }

func (g *stallGate) pass() {
	g.shut.Lock()
	defer g.shut.Unlock()
}

// stallingConn is a client's connection from which nothing is taken while its gate is shut.
type stallingConn struct {
	net.Conn
	gate *stallGate
}

func (c stallingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.pass()
	return n, err
}

// stallable returns a client whose connection takes nothing while gate is shut, and a function that cuts the connection.
func (n *node) stallable(gate *stallGate) (c *clientv3.Client, cut func()) {
	n.t.Helper()
	conns := make(chan net.Conn, 100)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(address, "unix://"))
		if err != nil {
			return nil, err
		}
		conns <- conn
		return stallingConn{conn, gate}, nil
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{n.addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial), grpc.WithInitialWindowSize(64 << 10)},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c, func() { _ = (<-conns).Close() }
}

const listBytes = 40 * 64 << 10

// startFull starts a node with keys that take listBytes, and room for one answer with them.
func startFull(t *testing.T, opts Options) *node {
	t.Helper()
	opts.RangeBytesInFlight, opts.ElectionTimeout = listBytes+listBytes/2, 20*time.Second // lists wait as long on a busy machine
	n := startNode(t, t.TempDir(), opts)
	c, ctx := n.client(), testContext(t)
	for i := range 40 {
		if _, err := c.Put(ctx, fmt.Sprintf("key/%02d", i), strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *node) inFlight() float64 { return testutil.ToFloat64(n.metrics.RangeBytesInFlight) }

func list(ctx context.Context, c *clientv3.Client) error {
	got, err := c.Get(ctx, "key/", clientv3.WithPrefix())
	if err == nil && len(got.Kvs) != 40 {
		err = fmt.Errorf("%d keys", len(got.Kvs))
	}
	return err
}

// Answers that a client does not take count until it does, or is gone, or has given up; others wait for them.
func TestListsInFlightAreBounded(t *testing.T) {
	n := startFull(t, Options{})
	other := n.client()
	for name, end := range map[string]struct {
		act  func(gate *stallGate, cut, cancel func())
		want codes.Code
	}{
		"it is taken":              {func(gate *stallGate, _, _ func()) { gate.shut.Unlock() }, codes.OK},
		"the connection is cut":    {func(gate *stallGate, cut, _ func()) { cut(); gate.shut.Unlock() }, codes.OK}, // asked again
		"the request is given up":  {func(gate *stallGate, _, cancel func()) { cancel(); gate.shut.Unlock() }, codes.Canceled},
		"it is given up and stuck": {func(gate *stallGate, cut, cancel func()) { cancel(); cut(); gate.shut.Unlock() }, codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			var gate stallGate
			stalled, cut := n.stallable(&gate)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			if _, err := stalled.Get(ctx, "key/00"); err != nil {
				t.Fatal(err)
			}
			gate.shut.Lock()
			done := make(chan error, 1)
			go func() { done <- list(ctx, stalled) }()
			eventually(t, "the answer is on its way", func() bool { return n.inFlight() >= listBytes })
			impatient, stop := context.WithTimeout(ctx, 500*time.Millisecond)
			defer stop()
			if err := list(impatient, other); status.Code(err) != codes.DeadlineExceeded && impatient.Err() == nil {
				t.Errorf("a second list beyond the bound: %v", err)
			}
			end.act(&gate, cut, cancel)
			err := <-done
			if got := status.Code(err); got != end.want && !(err == context.Canceled && end.want == codes.Canceled) {
				t.Errorf("the list ends with %v, want %v", err, end.want)
			}
			eventually(t, "nothing is on its way", func() bool { return n.inFlight() == 0 })
			if err := list(testContext(t), other); err != nil {
				t.Errorf("a list afterwards: %v", err)
			}
		})
	}
	if testutil.ToFloat64(n.metrics.RangeWaits) == 0 {
		t.Error("no list has waited")
	}
}

// Lists that come at once get their answers, one after the other, and one beyond the bound gets its, alone.
func TestListsBeyondTheBound(t *testing.T) {
	n := startFull(t, Options{})
	c, ctx := n.client(), testContext(t)
	for i := range 40 {
		if _, err := c.Put(ctx, fmt.Sprintf("more/%02d", i), strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	var lists sync.WaitGroup
	for range 20 {
		lists.Go(func() {
			if err := list(ctx, c); err != nil {
				t.Error(err)
			}
		})
		lists.Go(func() {
			if got, err := c.Get(ctx, "", clientv3.WithFromKey()); err != nil || len(got.Kvs) != 80 {
				t.Errorf("all: %v", err)
			}
		})
	}
	lists.Wait()
	eventually(t, "nothing is on its way", func() bool { return n.inFlight() == 0 })
}
