// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
)

func newMachine(t *testing.T, dir string) *StateMachine {
	t.Helper()
	le, err := lessor.New(lessor.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlstore.Open(testContext(t), sqlstore.Options{
		DB:      sqldb.Options{Path: filepath.Join(dir, "keelson.db"), Clock: systemClock{}},
		OnLease: ObserveLeases(le),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil && !errors.Is(err, sqldb.ErrClosed) {
			t.Error(err)
		}
	})
	return NewStateMachine(store, le, Options{})
}

// memberChange is the log's change of one member in etcd's form.
func memberChange(t *testing.T, index uint64, kind raftpb.ConfChangeType, c membership.ConfigChangeContext) raftlog.ConfChange {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return raftlog.ConfChange{
		Index: index, Term: 1, Context: payload,
		Changes: []*raftpb.ConfChangeSingle{{Type: kind.Enum(), NodeId: proto.Uint64(uint64(c.ID))}},
	}
}

func member(id types.ID, url string) membership.ConfigChangeContext {
	return membership.ConfigChangeContext{Member: membership.Member{
		ID: id, RaftAttributes: membership.RaftAttributes{PeerURLs: []string{url}},
	}}
}

func TestMembershipChanges(t *testing.T) {
	m := newMachine(t, t.TempDir())
	conf := &raftpb.ConfState{Voters: []uint64{1, 2}}
	index := uint64(0)
	apply := func(kind raftpb.ConfChangeType, c membership.ConfigChangeContext) error {
		t.Helper()
		index++
		change := memberChange(t, index, kind, c)
		if err := m.CheckConfChange(change); err != nil {
			m.ApplyEmpty(index, 1)
			return err
		}
		return m.ApplyConfChange(change, conf)
	}
	learner := member(3, "http://c:2380")
	learner.IsLearner = true
	promoted := learner
	promoted.IsPromote, promoted.IsLearner = true, false
	for _, step := range []struct {
		name string
		kind raftpb.ConfChangeType
		c    membership.ConfigChangeContext
		want error
	}{
		{"add", raftpb.ConfChangeAddNode, member(1, "http://a:2380"), nil},
		{"add another", raftpb.ConfChangeAddNode, member(2, "http://b:2380"), nil},
		{"add it again", raftpb.ConfChangeAddNode, member(2, "http://x:2380"), membership.ErrIDExists},
		{"a URL twice", raftpb.ConfChangeAddNode, member(9, "http://a:2380"), membership.ErrPeerURLexists},
		{"a learner", raftpb.ConfChangeAddLearnerNode, learner, nil},
		{"promote", raftpb.ConfChangeAddNode, promoted, nil},
		{"promote again", raftpb.ConfChangeAddNode, promoted, membership.ErrMemberNotLearner},
		{"another URL", raftpb.ConfChangeUpdateNode, member(2, "http://bb:2380"), nil},
		{"update of nobody", raftpb.ConfChangeUpdateNode, member(9, "http://z:2380"), membership.ErrIDNotFound},
		{"remove", raftpb.ConfChangeRemoveNode, member(1, "http://a:2380"), nil},
		{"add a removed one", raftpb.ConfChangeAddNode, member(1, "http://a:2380"), membership.ErrIDRemoved},
	} {
		if err := apply(step.kind, step.c); !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	got := m.store.Members()
	if len(got) != 2 || got[0].ID != 2 || got[0].PeerURLs[0] != "http://bb:2380" || got[1].ID != 3 || got[1].IsLearner {
		t.Fatalf("members %+v", got)
	}
	applied, state := m.Applied()
	if applied != index || !proto.Equal(state, conf) {
		t.Fatalf("applied %d with %v", applied, state)
	}
}

// Two removals that were asked for at once are both in the log; the second one
// would leave nobody with a vote.
func TestRemovalOfTheLastVoterIsRefused(t *testing.T) {
	m := newMachine(t, t.TempDir())
	learner := member(3, "http://c:2380")
	learner.IsLearner = true
	for i, step := range []struct {
		kind raftpb.ConfChangeType
		c    membership.ConfigChangeContext
		want error
	}{
		{raftpb.ConfChangeAddNode, member(1, "http://a:2380"), nil},
		{raftpb.ConfChangeAddNode, member(2, "http://b:2380"), nil},
		{raftpb.ConfChangeAddLearnerNode, learner, nil},
		{raftpb.ConfChangeRemoveNode, member(1, ""), nil},
		{raftpb.ConfChangeRemoveNode, member(2, ""), errNotEnoughStarted},
		{raftpb.ConfChangeRemoveNode, learner, nil},
		{raftpb.ConfChangeRemoveNode, member(2, ""), errNotEnoughStarted},
	} {
		change := memberChange(t, uint64(i+1), step.kind, step.c)
		err := m.CheckConfChange(change)
		if !errors.Is(err, step.want) {
			t.Errorf("change %d: %v, want %v", i, err, step.want)
		}
		if err != nil {
			m.ApplyEmpty(change.Index, 1)
		} else if err := m.ApplyConfChange(change, &raftpb.ConfState{Voters: []uint64{2}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMembershipChangesThatLieAreRefused(t *testing.T) {
	m := newMachine(t, t.TempDir())
	wrongID := memberChange(t, 1, raftpb.ConfChangeAddNode, member(1, "http://a:2380"))
	wrongID.Changes[0].NodeId = proto.Uint64(2)
	garbage := memberChange(t, 1, raftpb.ConfChangeAddNode, member(1, "http://a:2380"))
	garbage.Context = []byte("{")
	unknown := memberChange(t, 1, raftpb.ConfChangeType(17), member(1, "http://a:2380"))
	joint := memberChange(t, 1, raftpb.ConfChangeAddNode, member(1, "http://a:2380"))
	joint.Changes = append(joint.Changes, joint.Changes[0])
	entered := memberChange(t, 1, raftpb.ConfChangeAddNode, member(1, "http://a:2380"))
	entered.Joint = true
	for name, change := range map[string]raftlog.ConfChange{
		"another member's id": wrongID, "no JSON": garbage, "unknown kind": unknown, "two changes": joint, "one of two halves": entered,
	} {
		if err := m.CheckConfChange(change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSnapshotDataIsEtcds(t *testing.T) {
	m := newMachine(t, t.TempDir())
	if err := m.ApplyConfChange(memberChange(t, 1, raftpb.ConfChangeAddNode, member(7, "http://a:2380")), &raftpb.ConfState{Voters: []uint64{7}}); err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyConfChange(memberChange(t, 2, raftpb.ConfChangeAddNode, member(8, "http://b:2380")), &raftpb.ConfState{Voters: []uint64{7, 8}}); err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyConfChange(memberChange(t, 3, raftpb.ConfChangeRemoveNode, member(8, "http://b:2380")), &raftpb.ConfState{Voters: []uint64{7}}); err != nil {
		t.Fatal(err)
	}
	m.Apply([]raftlog.Entry{
		entry(t, 4, &pb.InternalRaftRequest{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{
			Member_ID: 7, MemberAttributes: &membershippb.Attributes{Name: "a", ClientUrls: []string{"http://a:2379"}},
		}}),
		entry(t, 5, &pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}}),
	})
	data, err := m.SnapshotData()
	if err != nil {
		t.Fatal(err)
	}
	// etcd reads it back.
	tree := v2store.New("/0", "/1")
	if err := tree.Recovery(data); err != nil {
		t.Fatal(err)
	}
	members, removed := membership.MembersFromStore(zap.NewNop(), tree)
	got := members[7]
	if len(members) != 1 || got == nil || got.Name != "a" || got.PeerURLs[0] != "http://a:2380" || got.ClientURLs[0] != "http://a:2379" {
		t.Fatalf("members %+v", members)
	}
	if len(removed) != 1 || !removed[8] {
		t.Fatalf("removed %v", removed)
	}
	version, err := tree.Get(membership.StoreClusterVersionKey(), false, false)
	if err != nil || *version.Node.Value != "3.7.0" {
		t.Fatalf("version %v, %v", version, err)
	}
}

func entry(t *testing.T, index uint64, r *pb.InternalRaftRequest) raftlog.Entry {
	t.Helper()
	r.Header = &pb.RequestHeader{ID: index + 100}
	data, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return raftlog.Entry{Index: index, Term: 1, Data: data}
}

// A cluster that has become a later one than the server may hold in its log what
// the server does not know.
func TestLaterClusterVersionEndsTheStateMachine(t *testing.T) {
	m := newMachine(t, t.TempDir())
	set := func(index uint64, version string) []raftlog.Result {
		return m.Apply([]raftlog.Entry{
			entry(t, index, &pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: version}}),
		})
	}
	for i, version := range []string{"3.0.0", majorMinorText(t, 0), majorMinorText(t, -1)} {
		if results := set(uint64(i+1), version); len(results) != 1 || m.Err() != nil || m.CheckVersion() != nil {
			t.Fatalf("%s: %v, %v", version, results, m.Err())
		}
	}
	if results := set(4, majorMinorText(t, 1)); results != nil {
		t.Errorf("a later version is answered: %v", results)
	}
	const text = "invalid downgrade; server version is lower than determined cluster version"
	if err := m.Err(); err == nil || !strings.HasPrefix(err.Error(), text) {
		t.Errorf("a later version: %v", err)
	}
	if err := m.CheckVersion(); err == nil || !strings.HasPrefix(err.Error(), text) {
		t.Errorf("at the next start: %v", err)
	}
}

func TestResultsCarryTheirIDs(t *testing.T) {
	m := newMachine(t, t.TempDir())
	results := m.Apply([]raftlog.Entry{
		entry(t, 1, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("a")}}),
		entry(t, 2, &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}),
	})
	if len(results) != 2 || results[0].ID != 101 || results[1].ID != 102 {
		t.Fatalf("results %v", results)
	}
	if o := results[0].Value.(*sqlstore.Outcome); o.Err != nil || o.Revision != 2 {
		t.Fatalf("outcome %+v", o)
	}
	if o := results[1].Value.(*sqlstore.Outcome); !errors.Is(o.Err, sqlstore.ErrLeaseNotFound) {
		t.Fatalf("outcome %+v", o)
	}
	if m.Err() != nil {
		t.Fatal(m.Err())
	}
}
