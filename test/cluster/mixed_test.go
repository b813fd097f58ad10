// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// TestMixedWithEtcd founds a cluster of keelsons and etcds. Whoever leads, all take writes and reads, hold the same history
// by its hash, before and after a compaction, and renew leases at the leader.
func TestMixedWithEtcd(t *testing.T) {
	keelsonOnly(t)
	for name, kinds := range map[string][]harness.Kind{
		"one keelson":  {harness.Etcd, harness.Etcd, harness.Keelson},
		"two keelsons": {harness.Keelson, harness.Etcd, harness.Keelson},
	} {
		t.Run(name, func(t *testing.T) {
			members := harness.StartMixed(t, kinds, harness.Options{}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
			defer cancel()
			var compactAt int64
			for i, leader := range members {
				moveLeadership(ctx, t, members, leader)
				compactAt = useEach(ctx, t, members, fmt.Sprintf("round-%d", i))
				wantSameHash(ctx, t, members)
			}
			kv := pb.NewKVClient(members[0].Conn(t))
			if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: compactAt, Physical: true}); err != nil {
				t.Fatal(err)
			}
			useEach(ctx, t, members, "compacted")
			wantSameHash(ctx, t, members)
		})
	}
}

// moveLeadership has a member lead.
func moveLeadership(ctx context.Context, t *testing.T, members harness.Members, to *harness.Server) {
	t.Helper()
	status, err := pb.NewMaintenanceClient(to.Conn(t)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	target := status.Header.MemberId
	for {
		for _, m := range members {
			client := pb.NewMaintenanceClient(m.Conn(t))
			if status, err = client.Status(ctx, &pb.StatusRequest{}); err != nil {
				t.Fatal(err)
			}
			if status.Leader == target {
				return
			}
			if status.Leader == status.Header.MemberId {
				_, err = client.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: target})
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s %s does not come to lead: %v", to.Kind(), to.Name(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// useEach writes at each member, reads it at all, and renews a lease at all. It returns the revision of the last write.
func useEach(ctx context.Context, t *testing.T, members harness.Members, prefix string) (revision int64) {
	t.Helper()
	granted, err := pb.NewLeaseClient(members[0].Conn(t)).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 300})
	if err != nil {
		t.Fatalf("grant a lease: %v", err)
	}
	for i, m := range members {
		key := []byte(fmt.Sprintf("%s/%d", prefix, i))
		put, err := pb.NewKVClient(m.Conn(t)).Put(ctx, &pb.PutRequest{Key: key, Value: key, Lease: granted.ID})
		if err != nil {
			t.Fatalf("put at %s %s: %v", m.Kind(), m.Name(), err)
		}
		revision = put.Header.Revision
		for _, reader := range members {
			got, err := pb.NewKVClient(reader.Conn(t)).Range(ctx, &pb.RangeRequest{Key: key})
			if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != revision {
				t.Errorf("%s %s reads %v, %v; want revision %d", reader.Kind(), reader.Name(), got, err, revision)
			}
		}
		if ttl, err := renew(ctx, pb.NewLeaseClient(m.Conn(t)), granted.ID); err != nil || ttl != 300 {
			t.Errorf("renew a lease at %s %s: %d s, %v", m.Kind(), m.Name(), ttl, err)
		}
	}
	return revision
}

// wantSameHash compares the members' histories at the newest revision of the first one.
func wantSameHash(ctx context.Context, t *testing.T, members harness.Members) {
	t.Helper()
	var want *pb.HashKVResponse
	for i, m := range members {
		if _, err := pb.NewKVClient(m.Conn(t)).Range(ctx, &pb.RangeRequest{Key: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		var revision int64
		if want != nil {
			revision = want.HashRevision
		}
		got, err := pb.NewMaintenanceClient(m.Conn(t)).HashKV(ctx, &pb.HashKVRequest{Revision: revision})
		if err != nil {
			t.Fatalf("hash at %s %s: %v", m.Kind(), m.Name(), err)
		}
		if i == 0 {
			want = got
		} else if got.Hash != want.Hash || got.CompactRevision != want.CompactRevision {
			t.Errorf("%s %s has hash %d after compaction at %d, %s %s %d after %d", m.Kind(), m.Name(), got.Hash, got.CompactRevision,
				members[0].Kind(), members[0].Name(), want.Hash, want.CompactRevision)
		}
	}
}
