// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/test/harness"
)

// serveTLS has the node serve clients that begin with a handshake, too.
func (n *node) serveTLS() (url string, client *http.Client) {
	n.t.Helper()
	ca := harness.NewAuthority(n.t, "ca")
	pair := ca.Issue(harness.Leaf{CN: "server", Hosts: []string{"127.0.0.1"}})
	certificate, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		n.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- n.ServeTLS(l, func(ctx context.Context, conn net.Conn) (*tls.Conn, []string, error) {
			var offered []string
			secure := tls.Server(conn, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				offered = hello.SupportedProtos
				return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}}, nil
			}})
			return secure, offered, secure.HandshakeContext(ctx)
		})
	}()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	n.t.Cleanup(func() {
		transport.CloseIdleConnections()
		n.close()
		if err := <-served; err != nil {
			n.t.Error(err)
		}
	})
	return "https://" + l.Addr().String(), &http.Client{Transport: transport}
}

// callByHTTP makes a gRPC call by an HTTP client, which has offered HTTP/1 as well.
func callByHTTP(ctx context.Context, c *http.Client, url string, request proto.Message) (*http.Response, error) {
	message, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(append(frame, message...)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	return c.Do(r)
}

// A client that does not take its answer holds up the end of the server for as long as the others may, and no longer.
func TestStopWithStuckClients(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	for i := range 160 {
		if _, err := c.Put(ctx, fmt.Sprintf("key/%03d", i), strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	url, web := n.serveTLS()
	all := &pb.RangeRequest{Key: []byte("key/"), RangeEnd: []byte("key0")}
	stuck, err := callByHTTP(ctx, web, url+pb.KV_Range_FullMethodName, all)
	if err != nil || stuck.ProtoMajor != 2 || stuck.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", stuck, err)
	}
	defer stuck.Body.Close()
	if n.inFlight() == 0 {
		t.Error("the answer is not counted")
	}
	n.closed = true
	bounded, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(bounded) }()
	select {
	case err := <-stopped:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stop: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server does not stop")
		_ = stuck.Body.Close()
		<-stopped
	}
	eventually(t, "nothing is on its way", func() bool { return n.inFlight() == 0 })
	if err := errors.Join(<-n.serve, n.log.Stop(ctx), n.store.Close(ctx)); err != nil {
		t.Error(err)
	}
}

// A client whose process is stopped keeps others from their lists for a while only.
func TestStalledClientIsCut(t *testing.T) {
	n := startFull(t, Options{ClientStallTimeout: 500 * time.Millisecond})
	other, ctx := n.client(), testContext(t)
	var gate stallGate
	stalled, _ := n.stallable(&gate)
	if _, err := stalled.Get(ctx, "key/00"); err != nil {
		t.Fatal(err)
	}
	gate.shut.Lock()
	open := sync.OnceFunc(gate.shut.Unlock)
	defer open()
	done := make(chan error, 1)
	go func() { done <- list(ctx, stalled) }()
	eventually(t, "the answer is on its way", func() bool { return n.inFlight() >= listBytes })
	eventually(t, "another client gets its list", func() bool {
		impatient, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		return list(impatient, other) == nil
	})
	open()
	if err := <-done; err != nil {
		t.Errorf("the list that was cut is asked for again: %v", err)
	}
	eventually(t, "nothing is on its way", func() bool { return n.inFlight() == 0 })
}
