// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// callers are users of all sorts.
var callers = []string{nobody, invalid, "u", "single", "open", "root"}

func bytesOf(s string) []byte { return []byte(s) }

func rangeOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: bytesOf(key), RangeEnd: bytesOf(end)}}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func compareOf(key, end string) *pb.Compare {
	return &pb.Compare{Key: bytesOf(key), RangeEnd: bytesOf(end), Target: pb.Compare_CREATE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_CreateRevision{}}
}

// kvCalls read and write keys in all ways.
func kvCalls() []call {
	var all []call
	do := func(name string, f func(ctx context.Context, s *side) (proto.Message, error)) {
		all = append(all, call{name, f})
	}
	ranges := func(r *pb.RangeRequest) {
		do(fmt.Sprintf("range %q..%q %v", r.Key, r.RangeEnd, r.Serializable), func(ctx context.Context, s *side) (proto.Message, error) { return s.kv().Range(ctx, r) })
		do(fmt.Sprintf("range stream %q..%q %v", r.Key, r.RangeEnd, r.Serializable), func(ctx context.Context, s *side) (proto.Message, error) {
			stream, err := s.kv().RangeStream(ctx, r)
			if err != nil {
				return nil, err
			}
			return nil, drain(stream.Recv)
		})
	}
	for _, r := range [][2]string{
		{"k", ""}, {"m", ""}, {"m", "\x00"}, {"m", "n"}, {"n", "\x00"}, {"n", "z"}, {"p/", "p0"}, {"p/", "p/2"}, {"p", "p0"}, {"p/", "\x00"},
		{"secret", ""}, {"x", ""}, {"\x00", "\x00"}, {"z", "a"}, {"m", "m"},
	} {
		ranges(&pb.RangeRequest{Key: bytesOf(r[0]), RangeEnd: bytesOf(r[1])})
		ranges(&pb.RangeRequest{Key: bytesOf(r[0]), RangeEnd: bytesOf(r[1]), Serializable: true, CountOnly: true})
	}
	for _, r := range []*pb.PutRequest{
		{Key: bytesOf("k")}, {Key: bytesOf("k"), PrevKv: true}, {Key: bytesOf("x"), PrevKv: true}, {Key: bytesOf("x1")}, {Key: bytesOf("p/1")},
		{Key: bytesOf("k"), Lease: 71}, {Key: bytesOf("k"), Lease: 72}, {Key: bytesOf("k"), Lease: 99}, {Key: bytesOf("x"), IgnoreValue: true},
	} {
		do("put "+r.String(), func(ctx context.Context, s *side) (proto.Message, error) { return s.kv().Put(ctx, r) })
		do("txn puts "+r.String(), func(ctx context.Context, s *side) (proto.Message, error) {
			return s.kv().Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{putOp(r)}})
		})
	}
	for _, r := range []*pb.DeleteRangeRequest{
		{Key: bytesOf("k")}, {Key: bytesOf("k"), PrevKv: true}, {Key: bytesOf("x"), RangeEnd: []byte{0}}, {Key: bytesOf("x"), RangeEnd: bytesOf("y"), PrevKv: true},
		{Key: bytesOf("k"), RangeEnd: bytesOf("l")}, {Key: []byte{0}, RangeEnd: bytesOf("a")},
	} {
		do("delete "+r.String(), func(ctx context.Context, s *side) (proto.Message, error) { return s.kv().DeleteRange(ctx, r) })
	}
	for name, r := range map[string]*pb.TxnRequest{
		"compare":        {Compare: []*pb.Compare{compareOf("k", "")}},
		"compare secret": {Compare: []*pb.Compare{compareOf("secret", "")}},
		"compare range":  {Compare: []*pb.Compare{compareOf("m", "\x00")}, Success: []*pb.RequestOp{rangeOp("m", "")}},
		"read":           {Success: []*pb.RequestOp{rangeOp("k", ""), rangeOp("p/1", "")}},
		"read other":     {Failure: []*pb.RequestOp{rangeOp("secret", "")}},
		"write other":    {Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: bytesOf("k")})}, Failure: []*pb.RequestOp{putOp(&pb.PutRequest{Key: bytesOf("secret")})}},
		"nested read":    {Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOp("secret", "")}})}},
		"nested write":   {Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{putOp(&pb.PutRequest{Key: bytesOf("secret")})}})}},
		"nested compare": {Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Compare: []*pb.Compare{compareOf("secret", "")}})}},
		"nested delete":  {Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{deleteOp(&pb.DeleteRangeRequest{Key: bytesOf("x"), PrevKv: true})}})}},
	} {
		do("txn "+name, func(ctx context.Context, s *side) (proto.Message, error) { return s.kv().Txn(ctx, r) })
	}
	// In the order of names: a map has none, and both sides must get the same calls.
	return sorted(all)
}

// otherCalls are about leases, members, the server and users.
func otherCalls() []call {
	var all []call
	do := func(name string, f func(ctx context.Context, s *side) (proto.Message, error)) {
		all = append(all, call{name, f})
	}
	lease := func(s *side) pb.LeaseClient { return pb.NewLeaseClient(s.conn) }
	cluster := func(s *side) pb.ClusterClient { return pb.NewClusterClient(s.conn) }
	server := func(s *side) pb.MaintenanceClient { return pb.NewMaintenanceClient(s.conn) }

	do("lease grant again", func(ctx context.Context, s *side) (proto.Message, error) {
		return lease(s).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 71, TTL: 100})
	})
	do("leases", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(lease(s).LeaseLeases(ctx, &pb.LeaseLeasesRequest{}))
	})
	for _, id := range []int64{71, 72, 99} {
		for _, keys := range []bool{false, true} {
			do(fmt.Sprint("time to live ", id, keys), func(ctx context.Context, s *side) (proto.Message, error) {
				resp, err := lease(s).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
				if resp != nil {
					resp.TTL = min(resp.TTL, 0)
				}
				return resp, err
			})
		}
		do(fmt.Sprint("keep alive ", id), func(ctx context.Context, s *side) (proto.Message, error) {
			stream, err := lease(s).LeaseKeepAlive(ctx)
			if err != nil {
				return nil, err
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				return nil, err
			}
			return stream.Recv()
		})
		if id != 71 { // 71 stays, with the key that only root may write
			continue
		}
		do("revoke", func(ctx context.Context, s *side) (proto.Message, error) {
			if resp, err := lease(s).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}); err != nil {
				return resp, err
			}
			_, err := lease(s).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 100})
			s.must("root", call{"attach", func(ctx context.Context, s *side) (proto.Message, error) {
				return s.kv().Put(ctx, &pb.PutRequest{Key: bytesOf("secret"), Lease: id})
			}})
			return nil, err
		})
	}

	do("compact", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.kv().Compact(ctx, &pb.CompactionRequest{Revision: 1 << 40})
	})
	do("member list", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(cluster(s).MemberList(ctx, &pb.MemberListRequest{Linearizable: true}))
	})
	do("member add", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(cluster(s).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{s.server.PeerURL()}}))
	})
	do("member remove", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(cluster(s).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 5}))
	})
	do("member update", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(cluster(s).MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 5, PeerURLs: []string{"http://127.0.0.1:1"}}))
	})
	do("member promote", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(cluster(s).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 5}))
	})
	do("status", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(server(s).Status(ctx, &pb.StatusRequest{}))
	})
	do("hash", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(server(s).Hash(ctx, &pb.HashRequest{}))
	})
	do("hashkv", func(ctx context.Context, s *side) (proto.Message, error) {
		return server(s).HashKV(ctx, &pb.HashKVRequest{})
	})
	do("snapshot", func(ctx context.Context, s *side) (proto.Message, error) {
		stream, err := server(s).Snapshot(ctx, &pb.SnapshotRequest{})
		if err != nil {
			return nil, err
		}
		return nil, drain(stream.Recv)
	})
	do("defragment", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(server(s).Defragment(ctx, &pb.DefragmentRequest{}))
	})
	do("move leader", func(ctx context.Context, s *side) (proto.Message, error) {
		return server(s).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 5})
	})
	do("downgrade", func(ctx context.Context, s *side) (proto.Message, error) {
		return server(s).Downgrade(ctx, &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.6.0"})
	})
	for _, action := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE} {
		do("alarm "+action.String(), func(ctx context.Context, s *side) (proto.Message, error) {
			return server(s).Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		})
	}
	return all
}

// userCalls are about users and roles.
func userCalls() []call {
	var all []call
	do := func(name string, f func(ctx context.Context, s *side) (proto.Message, error)) {
		all = append(all, call{name, f})
	}
	do("status", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().AuthStatus(ctx, &pb.AuthStatusRequest{})
	})
	all = append(all, enable())
	do("user list", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserList(ctx, &pb.AuthUserListRequest{})
	})
	do("role list", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().RoleList(ctx, &pb.AuthRoleListRequest{})
	})
	for _, name := range []string{"root", "u", "single", "ghost", ""} {
		do("get user "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().UserGet(ctx, &pb.AuthUserGetRequest{Name: name})
		})
	}
	for _, name := range []string{"root", "r", "single", "ghost", ""} {
		do("get role "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().RoleGet(ctx, &pb.AuthRoleGetRequest{Role: name})
		})
	}
	for _, name := range []string{"root", "ghost", ""} {
		do("delete user "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: name})
		})
		do("delete role "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: name})
		})
		do("password of "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: name, Password: name})
		})
	}
	long := string(make([]byte, 73))
	do("a long password", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserAdd(ctx, &pb.AuthUserAddRequest{Name: "long", Password: long})
	})
	do("a user without password", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserAdd(ctx, &pb.AuthUserAddRequest{Name: "certified", Options: &authpb.UserAddOptions{NoPassword: true}})
	})
	do("its login", func(ctx context.Context, s *side) (proto.Message, error) {
		return errOnly(s.auth().Authenticate(ctx, &pb.AuthenticateRequest{Name: "certified", Password: "x"}))
	})
	for _, name := range []string{"u", "ghost", ""} {
		do("wrong login of "+name, func(ctx context.Context, s *side) (proto.Message, error) {
			return errOnly(s.auth().Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: "wrong"}))
		})
	}
	all = append(all, addUser("root"), addUser(""), addRole("r"), addRole(""), grantRole("ghost", "r"), grantRole("u", "ghost"), grantRole("u", "r"), grantRole("", ""))
	for _, r := range [][2]string{{"", ""}, {"b", "a"}, {"", "\x00"}, {"spare", ""}, {"spare", "spare2"}, {"spare", ""}, {"b", "\x00"}} {
		all = append(all, grant("spare", authpb.Permission_READ, r[0], r[1]))
	}
	do("no permission", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "spare"})
	})
	for _, key := range []string{"spare", "spare", "ghost"} {
		do("revoke permission "+key, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{Role: "spare", Key: bytesOf(key)})
		})
	}
	for _, role := range []string{"root", "ghost", "single"} {
		do("revoke role "+role, func(ctx context.Context, s *side) (proto.Message, error) {
			return s.auth().UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: role})
		})
	}
	return all
}

// TestCallsAsEtcd makes every call as users of all sorts, of both kinds of servers: they permit and refuse the same,
// with the same words, and come to the same revisions.
func TestCallsAsEtcd(t *testing.T) {
	for name, calls := range map[string][]call{"kv": kvCalls(), "other": otherCalls(), "users": userCalls()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keelson, etcd := both(t)
			onBoth(keelson, etcd, func(s *side) {
				s.populate()
				for _, id := range []int64{71, 72} { // 71 is of a key that only root may write
					s.must("root", call{"grant", func(ctx context.Context, s *side) (proto.Message, error) {
						return pb.NewLeaseClient(s.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 100})
					}})
					key := map[int64]string{71: "secret", 72: "k"}[id]
					s.must("root", call{"attach", func(ctx context.Context, s *side) (proto.Message, error) {
						return s.kv().Put(ctx, &pb.PutRequest{Key: bytesOf(key), Lease: id})
					}})
				}
				for _, user := range callers {
					for _, c := range calls {
						s.note(user, c)
					}
				}
				s.note("root", call{"all keys", func(ctx context.Context, s *side) (proto.Message, error) {
					return s.kv().Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
				}})
			})
			wantSame(t, keelson, etcd)
		})
	}
}
