// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endless is a request's body that begins as JSON and does not end by itself.
type endless struct {
	head io.Reader
	sent *atomic.Int64
	stop int64
}

func (e endless) Read(p []byte) (int, error) {
	if e.sent.Load() > e.stop {
		return 0, io.EOF
	}
	n, _ := e.head.Read(p)
	for i := n; i < len(p); i++ {
		p[i] = 'A'
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

// The gateway does not take requests into memory that are larger than any can be.
func TestGatewayBoundsRequests(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{MaxRequestBytes: 64 << 10})
	limit := int64(jsonShare * n.opts.maxMessageBytes())
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for path, answered := range map[string]bool{
		"/v3/kv/put": true,
		"/v3/watch":  false, // a stream is open until its client ends it
	} {
		var sent atomic.Int64
		body := endless{head: strings.NewReader(`{"key":"`), sent: &sent, stop: 20 * limit}
		ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if (err == nil) != answered {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
		if err == nil {
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "etcdserver: request is too large") {
				t.Errorf("%s: %s: %.200s, %v", path, resp.Status, text, err)
			}
			_ = resp.Body.Close() // was read
		}
		cancel()
		if sent.Load() > 10*limit {
			t.Errorf("%s: %d bytes were taken", path, sent.Load())
		}
	}
}
