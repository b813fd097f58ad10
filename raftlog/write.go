// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog/disk"
)

// batch is what one Save makes durable: all of raft's append messages that had gathered.
type batch struct {
	state    *raftpb.HardState
	messages []*raftpb.Message
	entries  []*raftpb.Entry // of all messages, in order
	bytes    int             // payload of entries
}

func (b *batch) empty() bool { return len(b.messages) == 0 }

// carry writes one batch in a proposer's goroutine, which has acquired the writer's role, and applies what
// that committed. Whatever gathers meanwhile is left to the writer and applier goroutines.
func (l *Log) carry() {
	b := l.collect(batch{})
	if !b.empty() {
		if err := l.save(&b); err != nil {
			l.unsaved, l.unsavedErr = b, err
			l.writeC <- struct{}{} // the role goes along
			return
		}
		l.finish(b)
	}
	if l.props.queued() > 0 && l.leader.Load() != raft.None || !l.writer.release() {
		l.writeC <- struct{}{}
	}
	if l.applier.acquire() {
		l.applyOnce()
	}
}

// runWriter writes batches whenever it is handed the writer's role by writeC.
func (l *Log) runWriter() {
	defer l.goroutines.Done()
	for {
		select {
		case <-l.writeC:
			l.write()
		case <-l.quit:
			return
		}
	}
}

// write writes batch after batch until nothing is left, and releases the writer's role.
func (l *Log) write() {
	b, err := l.unsaved, l.unsavedErr
	l.unsaved, l.unsavedErr = batch{}, nil
	for {
		if err != nil {
			b = l.retry(b, err)
		}
		b, err = l.collect(b), nil
		if !b.empty() {
			err = l.save(&b)
		} else if l.writer.release() {
			return
		}
	}
}

// collect tells raft that saved is durable, gives it the proposals that have gathered as one message, and
// returns what is to be saved next; empty if nothing is.
func (l *Log) collect(saved batch) batch {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return batch{}
	}
	l.stepSavedLocked(saved)
	if l.leader.Load() == raft.None {
		l.advanceLocked() // there may be a leader now
	}
	l.stepProposalsLocked()
	l.advanceLocked()
	l.leaderAppeared = false
	b := l.takeAppendsLocked()
	applies := len(l.applies) > 0
	l.mu.Unlock()
	l.sendOutbound()
	if applies {
		l.wakeApplier()
	}
	return b
}

// finish tells raft that saved is durable and leaves what that commits to the caller.
func (l *Log) finish(saved batch) {
	l.mu.Lock()
	if !l.dead {
		l.stepSavedLocked(saved)
		l.advanceLocked()
	}
	l.mu.Unlock()
	l.sendOutbound()
}

// stepProposalsLocked gives raft the waiting proposals, as one message. Without a leader they go on waiting.
func (l *Log) stepProposalsLocked() {
	if l.leader.Load() == raft.None {
		return
	}
	taken := l.props.take(l.opts.MaxBatchEntries, l.opts.MaxBatchBytes)
	if len(taken) == 0 {
		return
	}
	entries := make([]*raftpb.Entry, len(taken))
	for i, p := range taken {
		entries[i] = p.entry
	}
	m := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(l.identity.MemberID), Entries: entries}
	err := l.rn.Step(m)
	if errors.Is(err, raft.ErrProposalDropped) {
		err = ErrProposalDropped
	}
	for i, p := range taken {
		switch {
		case err != nil:
			l.props.fail(p.id, err)
		case m.Entries[i] != p.entry:
			// raft puts an empty entry in place of a conf change that comes too early.
			l.props.fail(p.id, ErrConfChangePending)
		}
	}
	l.props.giveBack(taken)
}

// stepSavedLocked delivers the responses of b's messages: to raft here, and to other members.
func (l *Log) stepSavedLocked(b batch) {
	l.saving = 0
	for _, m := range b.messages {
		for _, r := range m.GetResponses() {
			if r.GetTo() == l.identity.MemberID {
				l.stepLocalLocked(r)
			} else {
				l.queueOutboundLocked(r)
			}
		}
	}
}

// takeAppendsLocked makes one batch of all append messages that wait.
func (l *Log) takeAppendsLocked() batch {
	if len(l.appends) == 0 {
		return batch{}
	}
	b := batch{messages: l.appends, state: l.held}
	l.appends, l.held = nil, nil
	l.saving = len(b.messages)
	for _, m := range b.messages {
		if b.entries == nil {
			b.entries = m.GetEntries()
		} else {
			b.entries = append(b.entries[:len(b.entries):len(b.entries)], m.GetEntries()...)
		}
	}
	for _, e := range b.entries {
		b.bytes += len(e.GetData())
	}
	return b
}

// save makes b durable, in the log and for raft to read. On an error it is not; see retry.
func (l *Log) save(b *batch) error {
	start := l.opts.Clock.Now()
	if err := l.storage.Save(b.state, b.entries); err != nil {
		return err
	}
	if err := l.remember(b); err != nil {
		return err
	}
	if l.opts.Events.Saved != nil {
		l.opts.Events.Saved(SaveInfo{Entries: len(b.entries), Bytes: b.bytes, Took: l.opts.Clock.Now().Sub(start)})
	}
	return nil
}

// remember lets raft read what was saved.
func (l *Log) remember(b *batch) error {
	for _, m := range b.messages {
		// Per message: a later one may replace entries of an earlier one.
		if err := l.mem.Append(m.GetEntries()); err != nil {
			return err
		}
	}
	return nil
}

// Waiting times between attempts to save a batch again.
const (
	minRetryDelay = 10 * time.Millisecond
	maxRetryDelay = time.Second
)

// retry saves b after an attempt that failed with err, again and again until it works, the failure turns
// out final, or the log dies. Nothing of b counts before, and proposals are refused. It returns b, or an
// empty batch when there is nothing left to do.
func (l *Log) retry(b batch, err error) batch {
	start := l.opts.Clock.Now()
	for delay := minRetryDelay; err != nil; delay = min(2*delay, maxRetryDelay) {
		if !errors.Is(err, disk.ErrNotSaved) {
			l.die(fmt.Errorf("save the log: %w", err))
			return batch{}
		}
		if delay == minRetryDelay {
			l.space.fail()
			l.diskFailing(err)
		}
		if !l.sleep(delay) {
			return batch{}
		}
		if err = l.storage.Reopen(); err == nil {
			err = l.save(&b)
		}
	}
	l.space.recover()
	after := l.opts.Clock.Now().Sub(start)
	l.opts.Logger.Info("saved the log again after a failure", zap.Duration("after", after), zap.Int("entries", len(b.entries)))
	if l.opts.Events.DiskRecovered != nil {
		l.opts.Events.DiskRecovered(after)
	}
	return b
}

func (l *Log) diskFailing(err error) {
	l.opts.Logger.Error("cannot save the log, refusing writes until it can be", zap.Error(err))
	if l.opts.Events.DiskFailing != nil {
		l.opts.Events.DiskFailing(err)
	}
}

// sleep returns false at once when the log dies.
func (l *Log) sleep(d time.Duration) bool {
	t := l.opts.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-l.done:
		return false
	}
}
