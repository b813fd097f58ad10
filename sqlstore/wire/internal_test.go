// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/wire"
)

func TestEntriesEqualProtobufs(t *testing.T) {
	requests := []struct {
		kind  wire.Kind
		entry *pb.InternalRaftRequest
	}{
		{wire.KindPut, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 300), Lease: -1, PrevKv: true, IgnoreLease: true}}},
		{wire.KindPut, &pb.InternalRaftRequest{Put: &pb.PutRequest{}}},
		{wire.KindDeleteRange, &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true}}},
		{wire.KindTxn, &pb.InternalRaftRequest{Txn: guardedUpdate([]byte("k"), []byte("v"))}},
		{wire.KindCompaction, &pb.InternalRaftRequest{Compaction: &pb.CompactionRequest{Revision: 5, Physical: true}}},
		{wire.KindLeaseGrant, &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{TTL: 60, ID: 1 << 60}}},
		{wire.KindLeaseRevoke, &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}}},
		{wire.KindAlarm, &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 3, Alarm: pb.AlarmType_NOSPACE}}},
		{wire.KindLeaseCheckpoint, &pb.InternalRaftRequest{LeaseCheckpoint: &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: 1, Remaining_TTL: 2}, {}}}}},
		{wire.KindClusterVersionSet, &pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}}},
		{wire.KindClusterMemberAttrSet, &pb.InternalRaftRequest{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{
			Member_ID: 9, MemberAttributes: &membershippb.Attributes{Name: "a", ClientUrls: []string{"http://b"}},
		}}},
		{wire.KindDowngradeInfoSet, &pb.InternalRaftRequest{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "3.6.0"}}},
		{wire.KindAuthEnable, &pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}},
		{wire.KindAuthDisable, &pb.InternalRaftRequest{AuthDisable: &pb.AuthDisableRequest{}}},
		{wire.KindAuthenticate, &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "u", SimpleToken: "t"}}},
		{wire.KindAuthStatus, &pb.InternalRaftRequest{AuthStatus: &pb.AuthStatusRequest{}}},
		{wire.KindAuthUserAdd, &pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u", HashedPassword: "p"}}},
		{wire.KindAuthUserDelete, &pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "u"}}},
		{wire.KindAuthUserGet, &pb.InternalRaftRequest{AuthUserGet: &pb.AuthUserGetRequest{Name: "u"}}},
		{wire.KindAuthUserChangePassword, &pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: "u"}}},
		{wire.KindAuthUserGrantRole, &pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "u", Role: "r"}}},
		{wire.KindAuthUserRevokeRole, &pb.InternalRaftRequest{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}}},
		{wire.KindAuthUserList, &pb.InternalRaftRequest{AuthUserList: &pb.AuthUserListRequest{}}},
		{wire.KindAuthRoleList, &pb.InternalRaftRequest{AuthRoleList: &pb.AuthRoleListRequest{}}},
		{wire.KindAuthRoleAdd, &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "r"}}},
		{wire.KindAuthRoleDelete, &pb.InternalRaftRequest{AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "r"}}},
		{wire.KindAuthRoleGet, &pb.InternalRaftRequest{AuthRoleGet: &pb.AuthRoleGetRequest{Role: "r"}}},
		{wire.KindAuthRoleGrantPermission, &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "r"}}},
		{wire.KindAuthRoleRevokePermission, &pb.InternalRaftRequest{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: "r"}}},
	}
	headers := []wire.EntryHeader{
		{}, {ID: 1}, {ID: 127}, {ID: 128}, {ID: 1<<64 - 1}, {ID: 1, Username: "root"}, {AuthRevision: 1},
		{ID: 1<<64 - 1, Username: strings.Repeat("ü", 100), AuthRevision: 1<<64 - 1},
	}
	for _, r := range requests {
		raw := rawRequest(t, r.entry)
		for _, header := range headers {
			id := header.ID
			r.entry.Header = &pb.RequestHeader{ID: id, Username: header.Username, AuthRevision: header.AuthRevision}
			want := marshal(t, r.entry)
			if got := wire.AppendInternal([]byte("before"), header, r.kind, raw); !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("kind %d id %d: entry %x, want %x", r.kind, id, got, want)
			}
			if r.kind < 16 {
				room := bytes.Join([][]byte{make([]byte, wire.EntryHeadroom), raw, make([]byte, wire.EntryTailroom)}, nil)
				if got := wire.WrapInternal(room, header, r.kind); !bytes.Equal(got, want) {
					t.Errorf("kind %d id %d: wrapped %x, want %x", r.kind, id, got, want)
				}
				if got := room[wire.EntryHeadroom : wire.EntryHeadroom+len(raw)]; !bytes.Equal(got, raw) {
					t.Errorf("kind %d id %d: request became %x", r.kind, id, got)
				}
			}
			var m pb.InternalRaftRequest
			if err := wire.UnmarshalInternal(want, &m); err != nil || !proto.Equal(&m, r.entry) {
				t.Errorf("kind %d id %d: decoded %v (%v), want %v", r.kind, id, &m, err, r.entry)
			}
		}
	}
}

// rawRequest returns the bytes of the only request that an entry without header holds.
func rawRequest(t *testing.T, entry *pb.InternalRaftRequest) []byte {
	t.Helper()
	var raw []byte
	for field, v := range entry.ProtoReflect().Range {
		if field.Message() == nil || raw != nil {
			t.Fatalf("more than a request in %v", entry)
		}
		raw = append([]byte{}, marshal(t, v.Message().Interface())...)
	}
	return raw
}

// The header may come before the request or after it, alone, or not at all.
func TestEntryHeader(t *testing.T) {
	header := marshal(t, &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 5, Username: "root", AuthRevision: 3}})
	put := marshal(t, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k")}, ID: 8})
	more := marshal(t, &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 6}})
	for _, data := range [][]byte{
		nil, header, put,
		bytes.Join([][]byte{put, header}, nil),
		bytes.Join([][]byte{header, put}, nil),
		bytes.Join([][]byte{header, put, more}, nil),
		bytes.Join([][]byte{put, header, put, more}, nil),
	} {
		sameAsProtobuf(t, entryDecoder, data)
	}
}
