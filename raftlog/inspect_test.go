// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// A peer that speaks garbage gets errors and changes nothing.
func TestGarbageIsRefused(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	c.equal(want)
	leader := c.leader()
	follower, term := leader%3+1, c.logs[leader].Term()
	from, to := new(leader%3+1), new(leader)
	entry := func(index, term uint64) *raftpb.Entry { return &raftpb.Entry{Index: new(index), Term: new(term)} }
	for name, m := range map[string]*raftpb.Message{
		"from a storage thread": {Type: raftpb.MsgStorageAppendResp.Enum(), From: new(uint64(raft.LocalAppendThread)), To: to, Index: new(uint64(5))},
		"an apply thread":       {Type: raftpb.MsgStorageApplyResp.Enum(), From: new(uint64(raft.LocalApplyThread)), To: to},
		"from itself":           {Type: raftpb.MsgAppResp.Enum(), From: to, To: to, Index: new(uint64(math.MaxUint64)), Term: new(term)},
		"from nobody":           {Type: raftpb.MsgHeartbeat.Enum(), To: to, Term: new(term)},
		"to another":            {Type: raftpb.MsgHeartbeat.Enum(), From: from, To: from, Term: new(term)},
		"a local message":       {Type: raftpb.MsgHup.Enum(), From: from, To: to},
		"a gap":                 {Type: raftpb.MsgApp.Enum(), From: from, To: to, Term: new(term), Index: new(uint64(3)), LogTerm: new(term), Entries: []*raftpb.Entry{entry(5, term)}},
		"a term that falls":     {Type: raftpb.MsgApp.Enum(), From: from, To: to, Term: new(term), Index: new(uint64(3)), LogTerm: new(term), Entries: []*raftpb.Entry{entry(4, term-1)}},
		"a term to come":        {Type: raftpb.MsgApp.Enum(), From: from, To: to, Term: new(term), Index: new(uint64(3)), LogTerm: new(term), Entries: []*raftpb.Entry{entry(4, term+1)}},
		"more than is there":    {Type: raftpb.MsgHeartbeat.Enum(), From: from, To: to, Term: new(term + 1), Commit: new(uint64(math.MaxUint64))},
	} {
		if err := c.logs[leader].Step(testContext(t), m); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	// What makes sense by itself and comes from nowhere is not taken as an error; it must do no harm.
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := &raftpb.Message{
			Type: raftpb.MessageType(rng.IntN(25)).Enum(), From: new(uint64(rng.IntN(6) + 10)), To: new(follower),
			Term: new(uint64(rng.IntN(int(term)))), Index: new(uint64(rng.IntN(30))), LogTerm: new(uint64(rng.IntN(3))),
			Commit: new(uint64(rng.IntN(30))), Reject: new(rng.IntN(2) == 0), RejectHint: new(uint64(rng.IntN(30))),
		}
		if m.GetType() == raftpb.MsgSnap || m.GetTerm() == 0 {
			continue // the first waits for the applier; the second are the local ones
		}
		_ = c.logs[follower].Step(testContext(t), m)
	}
	c.fill(want, 200, 10)
	c.equal(want)
}

// A member that comes back without the data it acknowledged dies with a clear error and does not take part.
func TestLostData(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	want := make(map[uint64]string)
	c.fill(want, 100, 10)
	c.equal(want)
	lost := c.leader()%3 + 1
	c.stop(lost)
	c.dirs[lost], c.machines[lost] = t.TempDir(), newMachine()
	c.start(lost)
	var err *LogLostError
	<-c.logs[lost].Done()
	if !errors.As(c.logs[lost].Status().Err, &err) || err.Committed <= err.Last {
		t.Errorf("the member that lost its data: %v", c.logs[lost].Status().Err)
	}
	c.stop(lost)
	c.fill(want, 200, 10)
	c.equal(want)
}
