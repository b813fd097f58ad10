// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"slices"
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
	// snapshot is one from another member, nil in most batches. It comes before entries, and messages is the one
	// that carries it.
	snapshot *raftpb.Snapshot
}

// queuedAppend is one of raft's append messages, with the newest state of when it was queued.
type queuedAppend struct {
	message *raftpb.Message
	state   *raftpb.HardState
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
		l.abandon(saved)
		return batch{}
	}
	l.stepSavedLocked(saved)
	l.advanceLocked() // so that leader and term are raft's of now
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
	if l.dead {
		l.mu.Unlock()
		l.abandon(saved)
		return
	}
	l.stepSavedLocked(saved)
	l.advanceLocked()
	l.mu.Unlock()
	l.sendOutbound()
}

// abandon forgets a batch of a log that has died, and lets go of the roles that an installation had.
func (l *Log) abandon(b batch) {
	if b.snapshot != nil {
		l.abandonInstall()
	}
}

// stepProposalsLocked gives raft the waiting proposals, as one message. Without a leader they go on waiting, and while
// leadership is handed over: until the next tick at least.
func (l *Log) stepProposalsLocked() {
	if l.leader.Load() == raft.None || l.refused {
		return
	}
	taken := l.ofThisTermLocked(l.props.take(l.opts.MaxBatchEntries, l.opts.MaxBatchBytes, l.term.Load()))
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
		l.refused = true
		l.props.putBack(taken)
		taken = taken[:0]
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
	if err == nil {
		l.noteChangesLocked(entries)
	}
}

// ofThisTermLocked leaves out the proposals that may not enter the log by this member now.
func (l *Log) ofThisTermLocked(taken []proposal) []proposal {
	return slices.DeleteFunc(taken, func(p proposal) bool {
		if p.only == 0 || l.leads.Load() && l.term.Load() == p.only {
			return false
		}
		l.props.fail(p.id, ErrNotLeader)
		return true
	})
}

// stepSavedLocked delivers the responses of b's messages: to raft here, and to other members. Those of a snapshot
// have to wait until the state machine is restored from it.
func (l *Log) stepSavedLocked(b batch) {
	l.saving, l.stalledTicks = 0, 0
	if b.snapshot != nil {
		l.restoreLaterLocked(b)
		return
	}
	for _, m := range b.messages {
		l.stepResponsesLocked(m)
	}
}

func (l *Log) stepResponsesLocked(m *raftpb.Message) {
	for _, r := range m.GetResponses() {
		switch {
		case r.GetTo() != l.identity.MemberID:
			l.queueOutboundLocked(r)
		case l.restoreDue:
			l.afterRestore = append(l.afterRestore, r)
		default:
			l.stepLocalLocked(r)
		}
	}
}

// takeAppendsLocked makes one batch of all append messages that wait, or, if one of them carries a snapshot, of those
// before it or of that one.
func (l *Log) takeAppendsLocked() batch {
	if len(l.appends) == 0 {
		return batch{}
	}
	n := slices.IndexFunc(l.appends, func(q queuedAppend) bool { return q.message.Snapshot != nil })
	var b batch
	switch {
	case n < 0:
		n = len(l.appends)
	case n == 0:
		n, b.snapshot = 1, l.appends[0].message.GetSnapshot()
		l.installing = false // the writer sees to it from here on
	}
	b.messages = make([]*raftpb.Message, n)
	for i, q := range l.appends[:n] {
		b.messages[i] = q.message
	}
	if n == len(l.appends) {
		b.state, l.held = l.held, nil
		clear(l.appends)
		l.appends = l.appends[:0]
	} else {
		// The newest state may have committed what comes in a later batch only.
		b.state, l.appends = l.appends[n-1].state, l.appends[n:]
	}
	l.saving = n
	b.gather()
	return b
}

// gather lists the entries of b's messages.
func (b *batch) gather() {
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
}

// save makes b durable, in the log and for raft to read. On an error it is not; see retry.
func (l *Log) save(b *batch) error {
	start := l.opts.Clock.Now()
	if err := l.store(b); err != nil {
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

// store makes b durable.
func (l *Log) store(b *batch) error {
	if b.snapshot == nil {
		return l.storage.Save(b.state, b.entries)
	}
	index := b.snapshot.GetMetadata().GetIndex()
	// What the state commits beyond the snapshot is not saved yet.
	state := &raftpb.HardState{Term: b.state.Term, Vote: b.state.Vote, Commit: new(min(index, b.state.GetCommit()))}
	if err := l.storage.SaveReceived(b.snapshot, state); err != nil || len(b.entries) == 0 {
		return err
	}
	return l.storage.Save(b.state, b.entries)
}

// remember lets raft read what was saved.
func (l *Log) remember(b *batch) error {
	if b.snapshot != nil {
		if err := l.mem.begin(b.snapshot); err != nil {
			return fmt.Errorf("begin the log after snapshot %d: %w", b.snapshot.GetMetadata().GetIndex(), err)
		}
	}
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
			l.abandon(b)
			return batch{}
		}
		if delay == minRetryDelay {
			l.space.fail()
			l.diskFailing(err)
		}
		if !l.sleep(delay) {
			l.abandon(b)
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
