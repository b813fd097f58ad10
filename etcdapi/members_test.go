// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/raftlog"
)

// Changes of membership by way of a follower: what is refused, in etcd's words,
// and what a learner that is never started goes through.
func TestMembersChange(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	follower, leader := c.followers()[0], c.leader()
	client := c.client(follower)
	refused := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		// A leader drops a change while it has not applied the one before, as in etcd.
		c.caughtUp()
	}

	// The client library would refuse these itself.
	_, err := pb.NewClusterClient(client.ActiveConnection()).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"not a url"}})
	refused("bad URL", rpctypes.Error(err), rpctypes.ErrMemberBadURLs)
	_, err = client.MemberAddAsLearner(ctx, []string{leader.url()})
	refused("URL of another", err, rpctypes.ErrPeerURLExist)
	_, err = client.MemberRemove(ctx, 1)
	refused("remove unknown", err, rpctypes.ErrMemberNotFound)
	_, err = client.MemberUpdate(ctx, 1, []string{"http://127.0.0.1:9"})
	refused("update unknown", err, rpctypes.ErrMemberNotFound)
	_, err = client.MemberPromote(ctx, 1)
	refused("promote unknown", err, rpctypes.ErrMemberNotFound)
	_, err = client.MemberPromote(ctx, leader.id)
	refused("promote a voter", err, rpctypes.ErrMemberNotLearner)
	_, err = client.MoveLeader(ctx, follower.id)
	refused("move by a follower", err, rpctypes.ErrNotLeader)

	added, err := client.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:9"})
	if err != nil || !added.Member.IsLearner || len(added.Members) != 4 {
		t.Fatalf("add learner: %v, %v", added, err)
	}
	_, err = client.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:10"})
	refused("second learner", err, rpctypes.ErrTooManyLearners)
	_, err = client.MemberPromote(ctx, added.Member.ID)
	refused("promote what never ran", err, rpctypes.ErrMemberLearnerNotReady)
	_, err = c.client(leader).MoveLeader(ctx, added.Member.ID)
	refused("move to a learner", err, rpctypes.ErrBadLeaderTransferee)
	if _, err = client.MemberUpdate(ctx, added.Member.ID, []string{"http://127.0.0.1:11"}); err != nil {
		t.Fatal(err)
	}
	c.caughtUp()
	listed, err := client.MemberList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(listed.Members, func(m *pb.Member) bool { return m.ID == added.Member.ID })
	if i < 0 || !slices.Equal(listed.Members[i].PeerURLs, []string{"http://127.0.0.1:11"}) {
		t.Fatalf("after the update: %v", listed.Members)
	}
	removed, err := client.MemberRemove(ctx, added.Member.ID)
	if err != nil || len(removed.Members) != 3 {
		t.Fatalf("remove: %v, %v", removed, err)
	}
	_, err = client.MemberRemove(ctx, added.Member.ID)
	refused("remove twice", err, rpctypes.ErrMemberNotFound)

	moved := c.client(leader)
	if _, err := moved.MoveLeader(ctx, follower.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new leader", func() bool { return leader.log.Leader() == follower.id })
}

// Leadership can't go to a member that does not answer. Who asked is told in
// etcd's words, when its own time is over, and writes do not wait for that long.
func TestLeadershipThatNobodyTakes(t *testing.T) {
	c := startTrio(t, trioOptions{})
	leader, silent := c.leader(), c.followers()[0]
	silent.paused.Store(true)
	ctx, cancel := context.WithTimeout(testContext(t), leader.opts.requestTimeout()+time.Second)
	defer cancel()
	put := make(chan error, 1)
	client := c.client(leader)
	service := &maintenanceService{core: leader.core}
	go func() {
		_, err := client.Put(ctx, "key", "value")
		put <- err
	}()
	_, err := service.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: silent.id})
	if s := status.Convert(err); s.Code() != codes.Unknown || s.Message() != "etcdserver: request timed out, leader transfer took too long" {
		t.Errorf("%v", err)
	}
	if ctx.Err() == nil {
		t.Error("it was given up before the client gave up")
	}
	if err := <-put; err != nil {
		t.Errorf("a write meanwhile: %v", err)
	}
}

// busyLog has a change of membership on its way all the time.
type busyLog struct{ Log }

func (busyLog) ProposeConfChange(context.Context, *raftpb.ConfChange) error {
	return raftlog.ErrConfChangePending
}

// Who waits for another change of membership to be applied is told why it waited
// in vain: its own time was over, or the server's.
func TestChangeThatWaitsForAnother(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	busy := *n.core
	busy.log = busyLog{n.log}
	service := &clusterService{core: &busy, members: n.machine.members}
	add := func(ctx context.Context) error {
		_, err := service.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:9"}, IsLearner: true})
		return err
	}
	canceled, cancel := context.WithCancel(testContext(t))
	time.AfterFunc(2*confChangeRetryInterval, cancel)
	if err := add(canceled); !errors.Is(err, rpctypes.ErrGRPCCanceled) {
		t.Errorf("canceled: %v", err)
	}
	late, cancel := context.WithTimeout(testContext(t), 2*confChangeRetryInterval)
	defer cancel()
	if err := add(late); !errors.Is(err, rpctypes.ErrGRPCTimeout) {
		t.Errorf("timed out: %v", err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	busy.stop = stopped
	if err := add(testContext(t)); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// A member that hears of its own removal says so; those that stay know it.
func TestRemovedMemberHearsOfIt(t *testing.T) {
	c := startTrio(t, trioOptions{})
	leader, gone := c.leader(), c.followers()[0]
	if _, err := c.client(leader).MemberRemove(testContext(t), gone.id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone.machine.Removed():
	case <-testContext(t).Done():
		t.Fatal("it was not told")
	}
	if !leader.machine.IsRemoved(gone.id) || leader.machine.IsRemoved(leader.id) {
		t.Error("the leader does not know who was removed")
	}
}

// Why a proposal timed out, as etcd tells it.
func TestProposalError(t *testing.T) {
	c := startTrio(t, trioOptions{})
	leader, follower := c.leader(), c.followers()[0]
	start := time.Now()
	if err := follower.proposalError(context.DeadlineExceeded, start); !errors.Is(err, errTimeout) {
		t.Errorf("connected: %v", err)
	}
	elected := start.Add(time.Second)
	follower.elections.elected.Store(&elected)
	if err := follower.proposalError(context.DeadlineExceeded, start.Add(500*time.Millisecond)); !errors.Is(err, errTimeoutLeaderFailed) {
		t.Errorf("elected meanwhile: %v", err)
	}
	for _, m := range c.members {
		if m != leader {
			m.paused.Store(true)
		}
	}
	if err := leader.proposalError(context.DeadlineExceeded, start); !errors.Is(err, errTimeoutConnectionLost) && !errors.Is(err, errTimeout) {
		t.Errorf("cut off: %v", err)
	}
}

// The only voter can't be removed, however strict.
func TestLastVoterStays(t *testing.T) {
	for _, strict := range []StrictReconfig{RefuseUnsafe, AllowUnsafe} {
		n := startNode(t, t.TempDir(), Options{StrictReconfig: strict})
		_, err := n.client().MemberRemove(testContext(t), n.memberID)
		if !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
			t.Errorf("strict %v: %v", strict, err)
		}
		n.close()
	}
}
