// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// stoppedFor is how long processes stand still: a minute if there is time for it.
func stoppedFor() time.Duration {
	if os.Getenv("KEELSON_LONG") == "1" {
		return time.Minute
	}
	return 8 * time.Second
}

// TestStoppedMembers stops the process of the leader, and then that of a follower, and wakes it: the others go on, nothing
// that was acknowledged is lost, leases that were renewed meanwhile are there, and who slept catches up.
func TestStoppedMembers(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*stoppedFor()+healTimeout)
	defer cancel()
	const ttl = 4
	granted, err := pb.NewLeaseClient(members[0].Conn(t)).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	acked := 0
	for round := range 2 {
		leader := leaderOf(ctx, t, members)
		asleep := members[(leader+round)%3] // the leader first
		awake := members[(leader+round+1)%3]
		kv, leases := pb.NewKVClient(awake.Conn(t)), pb.NewLeaseClient(awake.Conn(t))
		asleep.Signal(syscall.SIGSTOP)
		for end := time.Now().Add(stoppedFor()); time.Now().Before(end); {
			key := fmt.Sprintf("stopped/%05d", acked)
			put, cancel := context.WithTimeout(ctx, 15*time.Second)
			_, err := kv.Put(put, &pb.PutRequest{Key: []byte(key), Lease: granted.ID})
			cancel()
			if err != nil {
				t.Fatalf("put while %s stands still: %v", asleep.Name(), err)
			}
			acked++
			if left, err := renew(ctx, leases, granted.ID); err != nil || left != ttl {
				t.Fatalf("renew while %s stands still: %d s, %v", asleep.Name(), left, err)
			}
		}
		asleep.Signal(syscall.SIGCONT)
		got, err := pb.NewKVClient(asleep.Conn(t)).Range(ctx, &pb.RangeRequest{Key: []byte("stopped/"), RangeEnd: []byte("stopped0"), CountOnly: true})
		if err != nil || got.Count != int64(acked) {
			t.Fatalf("who slept has %v, %v; want %d keys", got, err, acked)
		}
		if left, err := renew(ctx, pb.NewLeaseClient(asleep.Conn(t)), granted.ID); err != nil || left != ttl {
			t.Fatalf("renew at who slept: %d s, %v", left, err)
		}
	}
	t.Logf("%d writes were acknowledged", acked)
	wantSameHash(ctx, t, members)
}

// leaderOf returns the place of the member that leads.
func leaderOf(ctx context.Context, t *testing.T, members harness.Members) int {
	t.Helper()
	for {
		for i, m := range members {
			status, err := pb.NewMaintenanceClient(m.Conn(t)).Status(ctx, &pb.StatusRequest{})
			if err == nil && status.Leader == status.Header.MemberId {
				return i
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("no member leads")
		}
	}
}
