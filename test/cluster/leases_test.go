// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// TestManyLeases grants 100,000 leases, each with a key, and wants them all back after a kill of the process; those that
// are short are revoked with their keys, and the others stay.
func TestManyLeases(t *testing.T) {
	keelsonOnly(t)
	const leases, short, shortTTL = 100_000, 5_000, 15
	server := harness.Start(t, harness.Keelson, harness.Options{Args: []string{"--unsafe-no-fsync"}})
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	lease, kv := pb.NewLeaseClient(server.Conn(t)), pb.NewKVClient(server.Conn(t))
	var next atomic.Int64
	var granting sync.WaitGroup
	for range 64 {
		granting.Go(func() {
			for id := next.Add(1); id <= leases; id = next.Add(1) {
				ttl := int64(7200)
				if id <= short {
					ttl = shortTTL
				}
				if _, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl}); err != nil {
					t.Errorf("grant lease %d: %v", id, err)
					return
				}
				if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(fmt.Sprintf("lease/%06d", id)), Lease: id}); err != nil {
					t.Errorf("put with lease %d: %v", id, err)
					return
				}
			}
		})
	}
	granting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	server.Kill()
	server.Restart()
	lease, kv = pb.NewLeaseClient(server.Conn(t)), pb.NewKVClient(server.Conn(t))
	keys := &pb.RangeRequest{Key: []byte("lease/"), RangeEnd: []byte("lease0"), CountOnly: true}
	for {
		list, err := lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		count, err := kv.Range(ctx, keys)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Leases) < leases-short || count.Count < leases-short {
			t.Fatalf("%d leases and %d keys are left, of which %d do not run out", len(list.Leases), count.Count, leases-short)
		}
		if len(list.Leases) == leases-short && count.Count == leases-short {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d leases and %d keys are left, want %d", len(list.Leases), count.Count, leases-short)
		}
	}
}
