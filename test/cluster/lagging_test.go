// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelson.io/keelson/test/harness"
)

// TestLaggingBehindTheOtherKind: a member that was away for long is brought up to date by a leader of the other kind, by
// its snapshot. It then holds all that the others hold, goes on after kill -9, and leads.
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
			away, leader := members[0], members[2]
			ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
			defer cancel()
			useEach(ctx, t, members, "before")
			moveLeadership(ctx, t, members, leader)
			away.Stop()
			putMany(ctx, t, leader.Conn(t), 1000)
			revision := useEach(ctx, t, members[1:], "meanwhile")
			addUser(ctx, t, leader)
			kv := pb.NewKVClient(leader.Conn(t))
			if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: revision - 500, Physical: true}); err != nil {
				t.Fatal(err)
			}
			putMany(ctx, t, leader.Conn(t), 1000)
			away.Restart()
			wantRestored(t, away)
			wantSameHash(ctx, t, members)
			wantSameLeases(ctx, t, members)
			wantUser(ctx, t, away)
			useEach(ctx, t, members, "after")
			away.Kill()
			away.Restart()
			moveLeadership(ctx, t, members, away)
			useEach(ctx, t, members, "last")
			wantSameHash(ctx, t, members)
		})
	}
}

// wantRestored wants a member to have been brought up to date by a snapshot, one of the other kind.
func wantRestored(t *testing.T, s *harness.Server) {
	t.Helper()
	lines := []string{"applied snapshot"}
	if s.Kind() == harness.Keelson {
		lines = []string{"imported the database snapshot of an etcd member", "restored the state machine from a snapshot"}
	}
	for _, line := range lines {
		if !strings.Contains(s.Log(), line) {
			t.Errorf("%s %s does not say %q", s.Kind(), s.Name(), line)
		}
	}
}

// addUser adds a user with a role.
func addUser(ctx context.Context, t *testing.T, s *harness.Server) {
	t.Helper()
	auth := pb.NewAuthClient(s.Conn(t))
	_, err := auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "reader"})
	if err == nil {
		_, err = auth.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{
			Name: "reader", Perm: &authpb.Permission{Key: []byte("a"), RangeEnd: []byte("b")},
		})
	}
	if err == nil {
		_, err = auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "alice", Options: &authpb.UserAddOptions{NoPassword: true}})
	}
	if err == nil {
		_, err = auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "reader"})
	}
	if err != nil {
		t.Fatalf("add a user at %s %s: %v", s.Kind(), s.Name(), err)
	}
}

// wantUser wants a member to know the user and the role.
func wantUser(ctx context.Context, t *testing.T, s *harness.Server) {
	t.Helper()
	auth := pb.NewAuthClient(s.Conn(t))
	user, err := auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "alice"})
	if err != nil || len(user.Roles) != 1 || user.Roles[0] != "reader" {
		t.Errorf("%s %s: user %v, %v", s.Kind(), s.Name(), user, err)
	}
	role, err := auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "reader"})
	if err != nil || len(role.Perm) != 1 || string(role.Perm[0].Key) != "a" || string(role.Perm[0].RangeEnd) != "b" {
		t.Errorf("%s %s: role %v, %v", s.Kind(), s.Name(), role, err)
	}
}

// wantSameLeases compares the members' leases, their times as granted, and their keys.
func wantSameLeases(ctx context.Context, t *testing.T, members harness.Members) {
	t.Helper()
	all, err := pb.NewLeaseClient(members[0].Conn(t)).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil || len(all.Leases) < 2 {
		t.Fatalf("leases %v: %v", all, err)
	}
	for _, l := range all.Leases {
		var want string
		for i, m := range members {
			ttl, err := pb.NewLeaseClient(m.Conn(t)).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: l.ID, Keys: true})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(ttl.Keys, bytes.Compare)
			if got := fmt.Sprintf("%d s, %q", ttl.GrantedTTL, ttl.Keys); i == 0 {
				want = got
			} else if got != want {
				t.Errorf("lease %x is %s at %s %s, %s at %s", l.ID, got, m.Kind(), m.Name(), want, members[0].Name())
			}
		}
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
