// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"keelson.io/keelson/test/harness"
)

// sides are the members of one cluster.
func sides(t *testing.T, members harness.Members) []*side {
	var all []*side
	for _, m := range members {
		all = append(all, newSide(t, m))
	}
	return all
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(callTimeout); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// describe asks a member for all users, roles and permissions.
func (s *side) describe() []proto.Message {
	s.t.Helper()
	var all []proto.Message
	ask := func(resp proto.Message, err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatalf("%s %s: %v", s.server.Kind(), s.server.Name(), err)
		}
		all = append(all, resp)
	}
	users, err := s.auth().UserList(s.as("root"), &pb.AuthUserListRequest{})
	ask(users, err)
	roles, err := s.auth().RoleList(s.as("root"), &pb.AuthRoleListRequest{})
	ask(roles, err)
	for _, name := range users.Users {
		ask(s.auth().UserGet(s.as("root"), &pb.AuthUserGetRequest{Name: name}))
	}
	for _, name := range roles.Roles {
		ask(s.auth().RoleGet(s.as("root"), &pb.AuthRoleGetRequest{Role: name}))
	}
	ask(s.auth().AuthStatus(s.as(nobody), &pb.AuthStatusRequest{}))
	return all
}

// wantSameUsers compares what members know, and what they permit.
func wantSameUsers(t *testing.T, members []*side) {
	t.Helper()
	want := members[0].describe()
	for _, s := range members {
		if diff := cmp.Diff(want, s.describe(), protocmp.Transform(), protocmp.IgnoreMessages(&pb.ResponseHeader{})); diff != "" {
			t.Errorf("%s %s (-first +this):\n%s", s.server.Kind(), s.server.Name(), diff)
		}
		for key, permitted := range map[string]bool{"k": true, "p/1": true, "x": false, "secret": false} {
			_, err := s.kv().Range(s.as("u"), &pb.RangeRequest{Key: bytesOf(key), Serializable: true})
			if permitted != (err == nil) {
				t.Errorf("%s %s: %s read by u: %v", s.server.Kind(), s.server.Name(), key, err)
			}
		}
	}
}

// TestMixedClusterAgrees: members of both kinds know the same users, take each other's tokens, and end leases whose keys
// only root may write, whoever leads.
func TestMixedClusterAgrees(t *testing.T) {
	members := harness.StartMixed(t, []harness.Kind{harness.Keelson, harness.Etcd, harness.Keelson}, harness.Options{Args: []string{"--bcrypt-cost=4"}}, nil)
	all := sides(t, members)
	all[0].populate()
	wantSameUsers(t, all)
	for _, from := range all {
		from.login("u")
		for _, to := range all {
			to.tokens["u"] = from.tokens["u"]
			to.must("u", get("k", ""))
			to.must("u", put("k", "v"))
		}
	}
	for i, s := range all {
		name := fmt.Sprint("user", i)
		s.must("root", addUser(name))
		s.must("root", addRole(name))
		s.must("root", grant(name, authpb.Permission_READ, "k", ""))
		s.must("root", grantRole(name, name))
	}
	wantSameUsers(t, all)
	for i, s := range all {
		moveLeadership(t, all, s)
		id := int64(100 + i)
		if _, err := pb.NewLeaseClient(s.conn).LeaseGrant(s.as("root"), &pb.LeaseGrantRequest{ID: id, TTL: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.kv().Put(s.as("root"), &pb.PutRequest{Key: bytesOf("leased"), Lease: id}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lease's end under "+s.server.Kind().String(), func() bool {
			resp, err := s.kv().Range(s.as("root"), &pb.RangeRequest{Key: bytesOf("leased")})
			return err == nil && resp.Count == 0
		})
	}
}

// moveLeadership makes a member lead.
func moveLeadership(t *testing.T, all []*side, to *side) {
	t.Helper()
	maintenance := func(s *side) pb.MaintenanceClient { return pb.NewMaintenanceClient(s.conn) }
	own, err := maintenance(to).Status(to.as("root"), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, to.server.Name()+" leads", func() bool {
		for _, s := range all {
			status, err := maintenance(s).Status(s.as("root"), &pb.StatusRequest{})
			if err != nil || status.Leader == 0 {
				return false
			}
			if status.Leader == own.Header.MemberId {
				return true
			}
			if status.Leader == status.Header.MemberId {
				_, err := maintenance(s).MoveLeader(s.as("root"), &pb.MoveLeaderRequest{TargetID: own.Header.MemberId})
				return err == nil
			}
		}
		return false
	})
}

// TestUsersBySnapshot: a member that was away while users were made learns of them by a snapshot, of its own kind or of
// the other, and after kill -9 from its own file.
func TestUsersBySnapshot(t *testing.T) {
	for name, kinds := range map[string][2]harness.Kind{
		"keelson behind keelson": {harness.Keelson, harness.Keelson},
		"etcd behind keelson":    {harness.Etcd, harness.Keelson},
		"keelson behind etcd":    {harness.Keelson, harness.Etcd},
	} {
		t.Run(name, func(t *testing.T) {
			members := harness.StartMixed(t, []harness.Kind{kinds[0], kinds[1], kinds[1]}, harness.Options{
				Args: []string{"--bcrypt-cost=4", "--snapshot-count=100", "--snapshot-catchup-entries=50"},
			}, nil)
			away := members[0]
			away.Stop()
			rest := sides(t, members[1:])
			rest[0].populate()
			for i := range 1000 {
				rest[0].must("root", put("filler", fmt.Sprint(i)))
			}
			away.Restart()
			behind := newSide(t, away)
			wantSameUsers(t, append(rest, behind))
			for _, line := range map[harness.Kind][]string{
				harness.Keelson: {"restored the state machine from a snapshot"}, harness.Etcd: {"applied snapshot"},
			}[kinds[0]] {
				if !strings.Contains(away.Log(), line) {
					t.Errorf("the member that was away does not say %q", line)
				}
			}
			rest[0].must("root", call{"delete", func(ctx context.Context, s *side) (proto.Message, error) {
				return s.auth().UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: "open"})
			}})
			away.Kill()
			away.Restart()
			wantSameUsers(t, append(rest, newSide(t, away)))
		})
	}
}

// TestRestart ends a server in both ways: users and roles, and that they count, stay.
func TestRestart(t *testing.T) {
	server := harness.Start(t, harness.Keelson, harness.Options{Args: []string{"--bcrypt-cost=4"}})
	s := newSide(t, server)
	s.populate()
	want := s.describe()
	for _, stop := range []func(){server.Stop, server.Kill} {
		stop()
		server.Restart()
		again := newSide(t, server)
		if _, err := again.kv().Put(again.as(nobody), &pb.PutRequest{Key: bytesOf("k")}); err == nil {
			t.Error("nobody may write after a restart")
		}
		if diff := cmp.Diff(want, again.describe(), protocmp.Transform(), protocmp.IgnoreMessages(&pb.ResponseHeader{})); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
	}
}
