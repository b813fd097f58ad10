// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelson.io/keelson/test/harness"
)

// unfitFor is how long a leader of the other kind is left with a member that it can't bring up to date: it tries more
// than once.
const unfitFor = 8 * time.Second

// TestLaggingBehindTheOtherKind: a member that was away for long stays as it is while the leader has only a snapshot of
// the other kind for it, and comes back when one of its own kind leads.
func TestLaggingBehindTheOtherKind(t *testing.T) {
	keelsonOnly(t)
	for name, kinds := range map[string][2]harness.Kind{
		"etcd behind keelson": {harness.Etcd, harness.Keelson},
		"keelson behind etcd": {harness.Keelson, harness.Etcd},
	} {
		t.Run(name, func(t *testing.T) {
			lagging, other := kinds[0], kinds[1]
			members := harness.StartMixed(t, []harness.Kind{lagging, lagging, other}, harness.Options{
				Args: []string{"--snapshot-count=100", "--snapshot-catchup-entries=50"},
			}, nil)
			away, same, leader := members[0], members[1], members[2]
			ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
			defer cancel()
			moveLeadership(ctx, t, members, leader)
			away.Stop()
			putMany(ctx, t, leader.Conn(t), 3000)
			for range 2 {
				away.Run()
				select {
				case <-away.Exited():
					t.Fatalf("%s ended by itself", away.Name())
				case <-time.After(unfitFor):
				}
				away.Stop()
			}
			wantFewSnapshots(t, leader, away)
			away.Run()
			moveLeadership(ctx, t, members[1:], same) // the other one serves nobody yet
			away.WaitReady()
			wantSameHash(ctx, t, members)
		})
	}
}

// wantFewSnapshots wants no snapshot to have come to an etcd, and few to a keelson, which must look at one of them.
func wantFewSnapshots(t *testing.T, from, to *harness.Server) {
	t.Helper()
	received, limit := strings.Count(to.Log(), "received and saved database snapshot"), 0
	if to.Kind() == harness.Keelson {
		limit = 10
		if !strings.Contains(to.Log(), "the snapshot is an etcd member's") {
			t.Error("nothing was refused, so the test tests nothing")
		}
	} else if !strings.Contains(from.Log(), "cannot send a snapshot") {
		t.Error("no snapshot was due, so the test tests nothing")
	}
	if received > limit {
		t.Errorf("%s %s received %d snapshots", to.Kind(), to.Name(), received)
	}
}

// putMany makes a number of small entries.
func putMany(ctx context.Context, t *testing.T, conn *grpc.ClientConn, entries int) {
	t.Helper()
	kv := pb.NewKVClient(conn)
	var callers sync.WaitGroup
	for caller := range 10 {
		callers.Go(func() {
			for i := range entries / 10 {
				if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(fmt.Sprintf("many/%d/%d", caller, i)), Value: []byte("v")}); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	callers.Wait()
}
