// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// TestStopEndsWhatWaits stops a server while one client waits for a lock and
// another one reads a watch from the gateway. Neither may hold up the end.
func TestStopEndsWhatWaits(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	lock := v3lockpb.NewLockClient(c.ActiveConnection())
	request := &v3lockpb.LockRequest{Name: []byte("l")}
	if _, err := lock.Lock(ctx, request); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := lock.Lock(ctx, request)
		waited <- err
	}()
	watch, err := http.Post("http://"+n.addr+"/v3/watch", "application/json", strings.NewReader(`{"create_request":{"key":"bA=="}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	lines := bufio.NewScanner(watch.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"created":true`) {
		t.Fatalf("watch: %q, %v", lines.Text(), lines.Err())
	}
	eventually(t, "the second lock's key", func() bool { return n.store.Revision() == 3 })
	start := time.Now()
	n.close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := <-waited; err == nil {
		t.Error("a lock was got that nobody released")
	}
	for lines.Scan() { // until the end, which came
	}
	http.DefaultClient.CloseIdleConnections()
}
