// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"math"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The parts that a member can have when a message comes.
const (
	fuzzFollower = iota // of nobody
	fuzzFollows         // member 2
	fuzzCandidate
	fuzzLeads
	fuzzRoles
)

// fuzzMachine is a machine that takes any entry and any snapshot.
type fuzzMachine struct{ *machine }

func (m fuzzMachine) Apply(entries []Entry) []Result {
	for _, e := range entries {
		m.advance(e.Index, e.Term)
	}
	return nil
}

// CheckConfChange refuses what etcdapi's machine refuses too and raft would not survive.
func (m fuzzMachine) CheckConfChange(change ConfChange) error {
	if len(change.Changes) != 1 || change.Joint {
		return errors.New("not a change of one member")
	}
	single := change.Changes[0]
	known := isMember(m.conf, single.GetNodeId())
	switch single.GetType() {
	case raftpb.ConfChangeRemoveNode:
		if len(m.conf.GetVoters()) == 1 {
			return errors.New("the last voter")
		}
	case raftpb.ConfChangeAddLearnerNode:
		if known {
			return errors.New("a member already")
		}
	case raftpb.ConfChangeAddNode, raftpb.ConfChangeUpdateNode:
	default:
		return errors.New("unknown change")
	}
	return nil
}

func (m fuzzMachine) Restore(_ context.Context, s *raftpb.Snapshot) error {
	at := s.GetMetadata()
	m.index, m.term, m.conf = at.GetIndex(), at.GetTerm(), at.GetConfState()
	m.durable = m.stateLocked()
	return nil
}

// fuzzLink takes all messages and loses them.
type fuzzLink struct{ t *testing.T }

func (fuzzLink) Send([]*raftpb.Message) {}

func (k fuzzLink) SendSnapshot(_ *raftpb.Message, s *StateSnapshot) {
	if err := s.Body.Close(); err != nil {
		k.t.Error(err)
	}
}

// FuzzStep has a member of three hear what others say, whatever that is, in any part. raft panics of what it does not
// expect; whoever can connect must not be able to make it. The messages follow each other with their lengths. Where one
// does not say from whom or to whom it is, it is from member 2 to this one.
func FuzzStep(f *testing.F) {
	for _, conversation := range fuzzConversations() {
		var data []byte
		for _, m := range conversation {
			encoded, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			data = protowire.AppendBytes(data, encoded)
		}
		for role := range byte(fuzzRoles) {
			f.Add(role, data)
		}
	}
	f.Fuzz(func(t *testing.T, role byte, data []byte) {
		m := openForFuzz(t, role%fuzzRoles)
		for len(data) > 0 {
			encoded, n := protowire.ConsumeBytes(data)
			message := new(raftpb.Message)
			if n < 0 || proto.Unmarshal(encoded, message) != nil {
				break
			}
			data = data[n:]
			if message.From == nil {
				message.From = new(uint64(2))
			}
			if message.To == nil {
				message.To = new(uint64(1))
			}
			hear(t, m, message)
		}
		m.Tick()
		work(m)
		m.Crash()
		if err := m.l.storage.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzStepFields is FuzzStep for one message twice, by its fields: all of them are tried at their limits.
func FuzzStepFields(f *testing.F) {
	for kind := range raftpb.MessageType_name {
		for role := range byte(fuzzRoles) {
			f.Add(role, kind, uint64(3), uint64(3), uint64(4), uint64(1), uint64(4), []byte("12345678"), byte(0), []byte("{"))
		}
	}
	f.Fuzz(func(t *testing.T, role byte, kind int32, term, logTerm, index, commit, hint uint64, ctx []byte, flags byte, data []byte) {
		m := openForFuzz(t, role%fuzzRoles)
		message := &raftpb.Message{
			Type: raftpb.MessageType(kind).Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(term), LogTerm: new(logTerm),
			Index: new(index), Commit: new(commit), RejectHint: new(hint), Reject: new(flags&1 != 0), Context: ctx,
		}
		if flags&2 != 0 {
			message.Entries = []*raftpb.Entry{{Index: new(index + 1), Term: new(term), Type: raftpb.EntryType(flags >> 5).Enum(), Data: data}}
		}
		if flags&4 != 0 {
			message.Snapshot = new(raftpb.Snapshot)
			_ = proto.Unmarshal(data, message.Snapshot) // what could be read of it
		}
		hear(t, m, proto.Clone(message).(*raftpb.Message))
		for range 25 { // longer than an election takes
			m.Tick()
			work(m)
		}
		message.From = new(uint64(3))
		hear(t, m, message)
		m.Crash()
		if err := m.l.storage.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// openForFuzz opens a log of member 1 of three, with a few entries, in a part.
func openForFuzz(t *testing.T, role byte) *Manual {
	smallSegments(t, 16<<10)
	opts := Options{
		Storage: newTestStorage(t.TempDir()), MemberID: 1, ClusterID: testCluster, Transport: fuzzLink{t}, Clock: newManualClock(),
		MinFreeBytes: 1, SnapshotCount: 5, SnapshotCatchUpEntries: 1, SnapshotCatchUpBytes: 1,
	}
	for id := range uint64(3) {
		opts.Peers = append(opts.Peers, raft.Peer{ID: id + 1, Context: []byte("member")})
	}
	m, err := OpenManual(opts, fuzzMachine{newMachine()})
	if err != nil {
		t.Fatal(err)
	}
	work(m)
	from, to := new(uint64(2)), new(uint64(1))
	if role != fuzzFollower {
		hear(t, m, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: from, To: to, Term: new(uint64(2)), Commit: new(uint64(3))})
	}
	if role == fuzzCandidate || role == fuzzLeads {
		hear(t, m, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: from, To: to, Term: new(uint64(2))})
	}
	if role == fuzzLeads {
		hear(t, m, &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: from, To: to, Term: new(uint64(3))})
		if !m.l.leads.Load() {
			t.Fatal("member 1 does not lead")
		}
		m.Propose(1, []byte("proposal"))
		work(m)
	}
	return m
}

// hear gives a member a message and lets it do what follows.
func hear(t *testing.T, m *Manual, message *raftpb.Message) {
	err := m.Log().Step(t.Context(), message)
	if errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	work(m)
}

// work has a member do what there is to do.
func work(m *Manual) {
	for busy := true; busy; {
		busy = m.BeginSave()
		m.FinishSave()
		busy = m.Apply() || busy
		busy = m.Background() || busy
	}
}

// fuzzConversations are messages of every kind, with values at their limits.
func fuzzConversations() [][]*raftpb.Message {
	entry := func(kind raftpb.EntryType, index, term uint64, data []byte) *raftpb.Entry {
		return &raftpb.Entry{Type: kind.Enum(), Index: new(index), Term: new(term), Data: data}
	}
	snapshot := func(index uint64, conf *raftpb.ConfState) *raftpb.Snapshot {
		return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(uint64(3)), ConfState: conf}}
	}
	var every []*raftpb.Message
	for kind := range raftpb.MessageType_name {
		every = append(every,
			&raftpb.Message{Type: raftpb.MessageType(kind).Enum(), Term: new(uint64(3)), Index: new(uint64(4)), LogTerm: new(uint64(1))},
			&raftpb.Message{Type: raftpb.MessageType(kind).Enum()})
	}
	ends := func(kind raftpb.MessageType) *raftpb.Message {
		most := new(uint64(math.MaxUint64))
		return &raftpb.Message{Type: kind.Enum(), Term: new(uint64(3)), Index: most, LogTerm: most, Commit: most, RejectHint: most, Reject: new(true)}
	}
	return [][]*raftpb.Message{
		every,
		{ends(raftpb.MsgAppResp), ends(raftpb.MsgHeartbeatResp), ends(raftpb.MsgReadIndexResp), ends(raftpb.MsgVote), ends(raftpb.MsgApp)},
		{{Type: raftpb.MsgApp.Enum(), Term: new(uint64(3)), Index: new(uint64(3)), LogTerm: new(uint64(1)), Commit: new(uint64(5)), Entries: []*raftpb.Entry{
			entry(raftpb.EntryNormal, 4, 3, []byte("data")), entry(raftpb.EntryConfChange, 5, 3, []byte("{")),
		}}},
		{{Type: raftpb.MsgProp.Enum(), Entries: []*raftpb.Entry{entry(raftpb.EntryConfChangeV2, 0, 0, []byte("{")), entry(raftpb.EntryNormal, 0, 0, nil)}}},
		{{Type: raftpb.MsgSnap.Enum(), Term: new(uint64(3)), Snapshot: snapshot(50, &raftpb.ConfState{Voters: []uint64{1, 2}})}},
		{{Type: raftpb.MsgSnap.Enum(), Term: new(uint64(3)), Snapshot: snapshot(50, &raftpb.ConfState{Voters: []uint64{1, 1}, Learners: []uint64{1}, AutoLeave: new(true)})}},
		{{Type: raftpb.MessageType(-1).Enum()}, {Type: raftpb.MessageType(math.MaxInt32).Enum()}},
		{{Type: raftpb.MsgReadIndex.Enum(), Entries: []*raftpb.Entry{entry(raftpb.EntryNormal, 0, 0, []byte("context"))}}},
	}
}
