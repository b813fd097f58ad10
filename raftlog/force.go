// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog/disk"
)

// forceAlone adds to the log, as committed, changes that remove everybody else. The state machine then learns of them
// as of any others.
//
// All entries that are there become committed, too. etcd drops those that are not known to be; but here the commit
// index on disk lags behind by a batch, and the last batch may have been acknowledged. With the majority lost nobody
// else can say.
func (l *Log) forceAlone(rec *disk.Recovered, applied uint64, conf *raftpb.ConfState) error {
	id, last := rec.Identity.MemberID, rec.Snapshot.GetIndex()
	if n := len(rec.Entries); n > 0 {
		last = rec.Entries[n-1].GetIndex()
	}
	if last < applied {
		return &StateAheadError{Applied: applied, Last: last}
	}
	voter, others, err := membersAtEnd(rec.Entries, applied, conf, id)
	if err != nil {
		return err
	}
	if !voter {
		return fmt.Errorf("raftlog: member %x has no vote and cannot go on alone", id)
	}
	entries, err := removals(others, last, rec.HardState.GetTerm())
	if err != nil {
		return err
	}
	last += uint64(len(entries))
	state := &raftpb.HardState{Term: new(rec.HardState.GetTerm()), Vote: new(rec.HardState.GetVote()), Commit: new(last)}
	if err := l.storage.Save(state, entries); err != nil {
		return fmt.Errorf("raftlog: remove the other members: %w", err)
	}
	rec.Entries, rec.HardState = append(rec.Entries, entries...), state
	l.opts.Logger.Warn("going on alone, as forced", zap.Int("members-removed", len(others)), zap.Uint64("commit-index", last))
	return nil
}

// membersAtEnd returns whether this member has a vote when all entries are applied, as far as can be known: some
// changes may be refused; and everybody else who may be a member then.
func membersAtEnd(entries []*raftpb.Entry, applied uint64, conf *raftpb.ConfState, self uint64) (voter bool, others []uint64, err error) {
	members := make(map[uint64]bool)
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetVotersOutgoing(), conf.GetLearners(), conf.GetLearnersNext()} {
		for _, id := range ids {
			members[id] = true
		}
	}
	voter = slices.Contains(conf.GetVoters(), self)
	for _, e := range entries {
		if e.GetIndex() <= applied || e.GetType() == raftpb.EntryNormal {
			continue
		}
		change, err := decodeConfChange(e)
		if err != nil {
			return false, nil, err
		}
		for _, c := range change.Changes {
			members[c.GetNodeId()] = true
			if c.GetNodeId() == self {
				voter = c.GetType() == raftpb.ConfChangeAddNode || voter && c.GetType() == raftpb.ConfChangeUpdateNode
			}
		}
	}
	delete(members, self)
	return voter, slices.Sorted(maps.Keys(members)), nil
}

// removals returns the entries after last, of a term, that remove members.
func removals(members []uint64, last, term uint64) ([]*raftpb.Entry, error) {
	entries := make([]*raftpb.Entry, len(members))
	for i, id := range members {
		data, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(id)})
		if err != nil {
			return nil, fmt.Errorf("raftlog: encode the removal of member %x: %w", id, err)
		}
		entries[i] = &raftpb.Entry{
			Type: raftpb.EntryConfChange.Enum(), Index: new(last + uint64(i) + 1), Term: new(term), Data: data,
		}
	}
	return entries, nil
}
