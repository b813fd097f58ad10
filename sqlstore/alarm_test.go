// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func alarm(action pb.AlarmRequest_AlarmAction, member uint64, kind pb.AlarmType) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: action, MemberID: member, Alarm: kind}}
}

// TestCorruptAlarm goes through what etcd refuses, and does not refuse, while
// some member is known to differ.
func TestCorruptAlarm(t *testing.T) {
	f := newFixture(t, nil)
	f.must(&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 7, TTL: 100}})
	f.must(put("a", "1"))
	f.must(alarm(pb.AlarmRequest_ACTIVATE, 0xbad, pb.AlarmType_CORRUPT))
	f.reopen() // the alarm outlives the process

	refused := map[string]*pb.InternalRaftRequest{
		"put":    put("a", "2"),
		"delete": del("a", ""),
		"txn": {Txn: &pb.TxnRequest{Success: []*pb.RequestOp{{
			Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}},
		}}}},
		"range":   {Range: &pb.RangeRequest{Key: []byte("a")}},
		"compact": compactAt(1),
		"grant":   {LeaseGrant: &pb.LeaseGrantRequest{ID: 8, TTL: 100}},
		"revoke":  {LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}},
	}
	for name, r := range refused {
		if _, err := f.apply(r); !isError(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The leader goes on counting leases, and clients read from what they reach.
	f.must(&pb.InternalRaftRequest{LeaseCheckpoint: &pb.LeaseCheckpointRequest{
		Checkpoints: []*pb.LeaseCheckpoint{{ID: 7, Remaining_TTL: 60}},
	}})
	if l, _ := f.store.Lease(7); l.Remaining != 60 {
		t.Errorf("lease after a checkpoint: %+v", l)
	}
	if got := f.read(0, "a", ""); len(got) != 1 {
		t.Errorf("read: %v", got)
	}
	if _, err := f.store.HashKV(context.Background(), 0); err != nil {
		t.Errorf("hash: %v", err)
	}

	// Only the member's own alarm ends with it.
	f.must(alarm(pb.AlarmRequest_ACTIVATE, 0xbed, pb.AlarmType_CORRUPT))
	f.must(alarm(pb.AlarmRequest_DEACTIVATE, 0xbad, pb.AlarmType_CORRUPT))
	if _, err := f.apply(put("a", "3")); !isError(err, ErrCorrupt) {
		t.Errorf("put under the other alarm: %v", err)
	}
	f.must(alarm(pb.AlarmRequest_DEACTIVATE, 0xbed, pb.AlarmType_CORRUPT))
	f.must(put("a", "3"))
}

// TestUnknownAlarm wants an alarm that nobody knows, which etcd lets clients raise,
// to be there after a restart and to end as others do.
func TestUnknownAlarm(t *testing.T) {
	f := newFixture(t, nil)
	const unknown = pb.AlarmType(77)
	f.must(alarm(pb.AlarmRequest_ACTIVATE, 5, unknown))
	f.reopen()
	if got := f.store.Alarms(pb.AlarmType_NONE); len(got) != 1 || got[0].Alarm != unknown || got[0].MemberID != 5 {
		t.Errorf("after a restart: %v", got)
	}
	f.must(put("a", "1"))
	f.must(alarm(pb.AlarmRequest_DEACTIVATE, 5, unknown))
	f.reopen()
	if got := f.store.Alarms(pb.AlarmType_NONE); len(got) != 0 {
		t.Errorf("disarmed: %v", got)
	}
}
