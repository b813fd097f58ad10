// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// TestFullMixedCluster: renewals of node Leases pass the alarm at a keelson, and an etcd that applies the same entries
// has the same history.
func TestFullMixedCluster(t *testing.T) {
	keelsonOnly(t)
	const quota, lease = 1 << 20, "/registry/leases/kube-node-lease/n1"
	members := harness.StartMixed(t, []harness.Kind{harness.Etcd, harness.Keelson, harness.Keelson},
		harness.Options{Args: []string{fmt.Sprintf("--quota-backend-bytes=%d", quota)}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	keelson := pb.NewKVClient(members[1].Conn(t))
	created, err := keelson.Put(ctx, &pb.PutRequest{Key: []byte(lease), Value: []byte("0")})
	if err != nil {
		t.Fatal(err)
	}
	for filled := 0; err == nil; filled += 64 << 10 {
		if filled > 4*quota {
			t.Fatal("the store does not get full")
		}
		_, err = keelson.Put(ctx, &pb.PutRequest{Key: []byte(fmt.Sprint("fill/", filled)), Value: make([]byte, 64<<10)})
	}
	if status.Convert(err).Code() != codes.ResourceExhausted {
		t.Fatalf("a full store says %v", err)
	}
	for i, mod := 0, created.Header.Revision; i < 30; i++ {
		m := members[1+i%2]
		resp, err := pb.NewKVClient(m.Conn(t)).Txn(ctx, renewal(lease, mod, fmt.Sprint(i)))
		if err != nil || !resp.Succeeded {
			t.Fatalf("renewal %d at %s: %v, %v", i, m.Name(), resp, err)
		}
		mod = resp.Header.Revision
	}
	list, err := pb.NewMaintenanceClient(members[0].Conn(t)).Alarm(ctx, &pb.AlarmRequest{})
	if err != nil || len(list.Alarms) == 0 {
		t.Errorf("alarms that an etcd has: %v, %v", list, err)
	}
	wantSameHash(ctx, t, members)
}

// renewal is how kube-apiserver writes a Lease object that it has read at a revision.
func renewal(key string, mod int64, value string) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte(key), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: mod}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
	}
}
