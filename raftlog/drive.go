// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// Step gives raft a message from another member. It does not wait for what follows from it. A MsgSnap must come after
// its content, which the state machine can restore from any time from now on; Step returns when raft has looked at
// it. A MsgProp is dropped unless this member leads. Errors: ErrStopped, ErrStateTransfer, raft.ErrStepPeerNotFound and
// raft.ErrStepLocalMsg, *LogLostError, ctx's, and what is wrong with a message that makes no sense.
func (l *Log) Step(ctx context.Context, m *raftpb.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.GetType() == raftpb.MsgSnap {
		return l.stepSnapshot(ctx, m)
	}
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return ErrStopped
	}
	err := l.inspectLocked(m)
	switch {
	case err != nil:
	case m.GetType() == raftpb.MsgProp:
		err = l.stepForwardedLocked(m)
	default:
		err = l.rn.Step(m)
	}
	l.advanceLocked()
	leader := l.leader.Load()
	fromLeader := leader == m.GetFrom() || leader == raft.None && isMember(l.conf, m.GetFrom())
	l.unlockAndWake()
	if lost := (*LogLostError)(nil); fromLeader && errors.As(err, &lost) {
		l.die(err)
	}
	return err
}

// ReportUnreachable tells raft that a message to member was not delivered.
func (l *Log) ReportUnreachable(member uint64) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return
	}
	l.rn.ReportUnreachable(member)
	l.advanceLocked()
	l.unlockAndWake()
}

// runTicker moves raft's time. It holds no role, so heartbeats never wait behind a sync or an apply.
func (l *Log) runTicker() {
	defer l.goroutines.Done()
	ticker := l.opts.Clock.NewTicker(l.opts.TickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
			l.tick()
		case <-l.quit:
			return
		}
	}
}

func (l *Log) tick() {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return
	}
	// Before raft's tick, which forgets now and then which followers it has heard from.
	l.checkStallLocked()
	l.checkLateLocked()
	l.rn.Tick()
	l.reads.tickLocked(l)
	l.retryDeferredLocked()
	if l.refused {
		l.refused, l.leaderAppeared = false, true
	}
	l.advanceLocked()
	l.unlockAndWake()
}

// unlockAndWake releases mu and sees to whatever advanceLocked has queued.
func (l *Log) unlockAndWake() {
	writes := len(l.appends) > 0 || l.leaderAppeared
	l.leaderAppeared = false
	applies := len(l.applies) > 0
	l.mu.Unlock()
	l.sendOutbound()
	if writes {
		l.wakeWriter()
	}
	if applies {
		l.wakeApplier()
	}
}

// wakeWriter has the writer goroutine write what waits, unless somebody does already.
func (l *Log) wakeWriter() {
	if l.writer.acquire() {
		l.writeC <- struct{}{}
	}
}

// stepLocalLocked gives raft the response of a local storage thread. raft accepts all of them but those of a member
// that was removed meanwhile, which count no more; any other error means that its rules were broken.
func (l *Log) stepLocalLocked(m *raftpb.Message) {
	// Going on after a lost response would leave entries that are on disk and never count.
	if err := l.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		panic(fmt.Sprintf("raftlog: raft refused its own %v: %v", m.GetType(), err))
	}
}

// advanceLocked takes what raft has ready and queues it for whom it concerns.
func (l *Log) advanceLocked() {
	for l.rn.HasReady() {
		rd := l.rn.Ready()
		if rd.HardState != nil {
			l.term.Store(rd.GetTerm())
			l.committedTo(rd.GetCommit())
			rd.Messages = holdVoteRequests(rd.Messages)
		}
		if rd.SoftState != nil {
			l.leads.Store(rd.SoftState.RaftState == raft.StateLeader)
			l.setLeaderLocked(rd.SoftState.Lead)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				l.queueAppendLocked(m)
			case raft.LocalApplyThread:
				l.applies = append(l.applies, m)
			default:
				l.queueOutboundLocked(m)
			}
		}
		for _, rs := range rd.ReadStates {
			l.reads.confirmedLocked(l, rs)
		}
		l.updateLocalReadsLocked()
	}
}

// holdVoteRequests has requests for votes wait, as responses of the append message beside them do, until this member's
// own vote is durable. raft lets them go at once, and the others may be a majority without this member: it leads, sends
// entries, loses power and with it the term, stands in the same term again, is elected by the same votes, and writes other
// entries in the places of those it sent. (Found by the simulation.)
func holdVoteRequests(messages []*raftpb.Message) []*raftpb.Message {
	at := slices.IndexFunc(messages, func(m *raftpb.Message) bool { return m.GetTo() == raft.LocalAppendThread })
	if at < 0 {
		return messages // nothing of this member's is unsaved
	}
	own := messages[at]
	return slices.DeleteFunc(messages, func(m *raftpb.Message) bool {
		if m.GetType() != raftpb.MsgVote {
			return false
		}
		own.Responses = append(own.Responses, m)
		return true
	})
}

// queueAppendLocked queues an append message. One that only moves the commit index needs no sync of its own:
// it is held until something else is saved.
func (l *Log) queueAppendLocked(m *raftpb.Message) {
	if m.Term != nil {
		l.held = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	if m.Snapshot != nil {
		l.lastIndex = m.GetSnapshot().GetMetadata().GetIndex()
		l.beginInstallLocked(m.GetSnapshot())
	}
	if n := len(m.GetEntries()); n > 0 {
		l.lastIndex = m.GetEntries()[n-1].GetIndex()
	}
	if len(m.GetEntries()) > 0 || len(m.GetResponses()) > 0 || m.Snapshot != nil {
		l.appends = append(l.appends, queuedAppend{m, l.held})
	}
}

// queueOutboundLocked queues a message to another member.
func (l *Log) queueOutboundLocked(m *raftpb.Message) {
	if l.opts.Transport == nil {
		return
	}
	switch m.GetType() {
	case raftpb.MsgSnap:
		l.queueSnapshotLocked(m)
		return
	case raftpb.MsgProp:
		l.stampLocked(m)
	case raftpb.MsgHeartbeat:
		l.heartbeats.note(m)
	}
	l.outbound = append(l.outbound, m)
}

func (l *Log) committedTo(index uint64) {
	if index == l.committed.Load() {
		return
	}
	l.committed.Store(index)
	if l.opts.Events.Committed != nil {
		l.opts.Events.Committed(index)
	}
}

func (l *Log) setLeaderLocked(leader uint64) {
	if leader == l.leader.Load() {
		return
	}
	l.leader.Store(leader)
	close(l.leaderChanged)
	l.leaderChanged = make(chan struct{})
	l.leaderAppeared = leader != raft.None
	l.refused = false
	l.reads.leaderChangedLocked(l)
	term := l.term.Load()
	l.opts.Logger.Info("leader changed", zap.String("leader", fmt.Sprintf("%x", leader)), zap.Uint64("term", term))
	if l.opts.Events.LeaderChanged != nil {
		l.opts.Events.LeaderChanged(leader, term)
	}
}

// setConfLocked notes the configuration in force.
func (l *Log) setConfLocked(conf *raftpb.ConfState) {
	l.conf = conf
	id := l.identity.MemberID
	l.alone = len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == id && len(conf.GetVotersOutgoing()) == 0
	l.learner.Store(false)
	for _, learner := range conf.GetLearners() {
		if learner == id {
			l.learner.Store(true)
		}
	}
	l.updateLocalReadsLocked()
}

// campaignLocked has the only voter stand for election at once: nobody else can be leader. It is called again
// after applying, because raft holds elections back while changes of membership are not applied.
func (l *Log) campaignLocked() {
	if !l.alone || l.leader.Load() != raft.None {
		return
	}
	if err := l.rn.Campaign(); err != nil {
		l.opts.Logger.Warn("cannot stand for election", zap.Error(err))
	}
}

// checkLateLocked tells when a leader's heartbeats leave late: when its process gets too little time.
func (l *Log) checkLateLocked() {
	now := l.opts.Clock.Now()
	late := now.Sub(l.lastTick) - l.opts.TickInterval
	l.lastTick = now
	if late > l.opts.TickInterval && l.leads.Load() && !l.alone && l.opts.Events.HeartbeatLate != nil {
		l.opts.Events.HeartbeatLate(late)
	}
}

// sendOutbound hands queued messages to the transport, in the order in which raft made them.
func (l *Log) sendOutbound() {
	if l.opts.Transport == nil {
		return
	}
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	l.mu.Lock()
	messages := l.outbound
	l.outbound = nil
	l.mu.Unlock()
	if len(messages) > 0 {
		l.opts.Transport.Send(messages)
	}
}
