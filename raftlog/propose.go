// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Propose brings data into the log and returns the Value that the state machine gave for id once it is
// durable on a quorum and applied. id must be unique over all members and all time and be found in data
// by the state machine; data belongs to the log afterwards and must not be empty.
//
// Errors: ErrStopped, ErrTooManyRequests, ErrNoSpace, ErrDuplicateID: nothing was proposed. ErrResultUnknown, ctx's, and
// ErrStopped of a log that had accepted it: it may still be applied. Without a leader it waits until there is one; if a
// leader is lost with it, it is proposed again to the next (see expire).
func (l *Log) Propose(ctx context.Context, id uint64, data []byte) (any, error) {
	entry, err := proposalEntry(id, data)
	if err != nil {
		return nil, l.proposalFailed(err)
	}
	return l.propose(ctx, proposal{id: id, entry: entry})
}

// ProposeInTerm is Propose for what only the leader of a term may ask for: the entry enters the log by this
// member as the leader of that term, or never, whoever leads then. It is neither forwarded nor proposed again.
// Errors as Propose's; also ErrNotLeader: it was not applied and never will be.
func (l *Log) ProposeInTerm(ctx context.Context, term, id uint64, data []byte) (any, error) {
	entry, err := proposalEntry(id, data)
	if err != nil {
		return nil, l.proposalFailed(err)
	}
	return l.propose(ctx, proposal{id: id, entry: entry, only: term})
}

func proposalEntry(id uint64, data []byte) (*raftpb.Entry, error) {
	if id == 0 || len(data) == 0 {
		return nil, fmt.Errorf("raftlog: a proposal needs an id and data, not %x and %d bytes", id, len(data))
	}
	return &raftpb.Entry{Data: data}, nil
}

// ProposeConfChange brings a change of membership into the log and returns when it is applied. cc.Id
// plays the part of Propose's id. Errors as Propose's; also ErrConfChangePending and whatever the state
// machine's CheckConfChange says.
func (l *Log) ProposeConfChange(ctx context.Context, cc *raftpb.ConfChange) error {
	entry, err := confChangeEntry(cc)
	if err != nil {
		return l.proposalFailed(err)
	}
	_, err = l.propose(ctx, proposal{id: cc.GetId(), entry: entry})
	return err
}

func confChangeEntry(cc *raftpb.ConfChange) (*raftpb.Entry, error) {
	if cc.GetId() == 0 {
		return nil, errors.New("raftlog: a conf change needs an id")
	}
	data, err := proto.Marshal(cc)
	if err != nil {
		return nil, fmt.Errorf("raftlog: encode conf change: %w", err)
	}
	return &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Data: data}, nil
}

func (l *Log) propose(ctx context.Context, p proposal) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.proposalFailed(err)
	}
	p.w = waiters.Get().(*waiter)
	if err := l.enqueue(p); err != nil {
		recycle(p.w)
		return nil, l.proposalFailed(err)
	}
	// Whoever finds nobody writing carries its own proposal: a lone client pays for no hand-over.
	if l.writer.acquire() {
		l.carry()
	}
	o := l.await(ctx, p)
	return o.Value, o.Err
}

// await returns the outcome of a proposal that is queued.
func (l *Log) await(ctx context.Context, p proposal) Outcome {
	var o Outcome
	select {
	case o = <-p.w.c:
	case <-ctx.Done():
		if l.props.cancel(p.id) {
			o.Err = ctx.Err()
		} else {
			o = <-p.w.c // it is on its way
		}
	}
	recycle(p.w)
	if o.Err != nil {
		o.Err = l.proposalFailed(o.Err)
	}
	return o
}

// Proposal is one of several that are proposed together: what Propose takes.
type Proposal struct {
	ID   uint64
	Data []byte
}

// ProposeTogether proposes several entries that stand one right after the other in the log, with nobody else's in
// between, and returns the outcome of each when all have one. When their leader is lost only the first ones may have
// been committed; the others are proposed again, then perhaps with entries in between. The error is of all of them:
// nothing was proposed.
func (l *Log) ProposeTogether(ctx context.Context, all ...Proposal) ([]Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.proposalFailed(err)
	}
	queued := make([]proposal, len(all))
	for i, p := range all {
		entry, err := proposalEntry(p.ID, p.Data)
		if err != nil {
			return nil, l.proposalFailed(err)
		}
		queued[i] = proposal{id: p.ID, entry: entry, more: i < len(all)-1, w: waiters.Get().(*waiter)}
	}
	if err := l.enqueue(queued...); err != nil {
		for _, p := range queued {
			recycle(p.w)
		}
		return nil, l.proposalFailed(err)
	}
	if l.writer.acquire() {
		l.carry()
	}
	outcomes := make([]Outcome, len(queued))
	for i, p := range queued {
		outcomes[i] = l.await(ctx, p)
	}
	return outcomes, nil
}

// enqueue queues proposals unless the log has too much to do already.
func (l *Log) enqueue(all ...proposal) error {
	if l.committed.Load() > l.applied.Load()+l.opts.MaxApplyGap {
		return ErrTooManyRequests
	}
	if l.space.low() {
		return ErrNoSpace
	}
	return l.props.add(all...)
}

func (l *Log) proposalFailed(err error) error {
	if l.opts.Events.ProposalFailed != nil {
		l.opts.Events.ProposalFailed(err)
	}
	return err
}

// Outcome is what becomes of a proposal: the state machine's Value for it, or why there is none. See
// Log.Propose for the errors.
type Outcome struct {
	Value any
	Err   error
}
