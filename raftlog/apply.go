// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// runApplier applies whenever it is handed the applier's role by applyC.
func (l *Log) runApplier() {
	defer l.goroutines.Done()
	for {
		select {
		case <-l.applyC:
			l.applyAll()
		case <-l.quit:
			return
		}
	}
}

// applyAll applies until nothing is left, and releases the applier's role or leaves it to an installation.
func (l *Log) applyAll() {
	next := l.unapplied
	l.unapplied = nil
	if l.restoring != nil {
		l.restore()
	}
	for {
		l.apply(next)
		next = l.stepApplied(next)
		if len(next) == 0 && (l.takeOffered() || l.applier.release()) {
			return
		}
	}
}

// applyOnce applies what is committed in the goroutine of a proposer, which has acquired the applier's role.
// Whatever is committed meanwhile is left to the applier goroutine.
func (l *Log) applyOnce() {
	if next := l.stepApplied(nil); len(next) > 0 {
		l.apply(next)
		l.unapplied = l.stepApplied(next)
	}
	if len(l.unapplied) > 0 || !l.applier.release() {
		l.applyC <- struct{}{} // the role goes along
	}
}

// wakeApplier has the applier goroutine apply what is committed, unless somebody does already.
func (l *Log) wakeApplier() {
	if l.applier.acquire() {
		l.applyC <- struct{}{}
	}
}

// stepApplied tells raft that the entries of done are applied and returns what is to be applied next.
func (l *Log) stepApplied(done []*raftpb.Message) []*raftpb.Message {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return nil
	}
	for _, m := range done {
		l.stepResponsesLocked(m)
	}
	if len(done) > 0 {
		l.campaignLocked()
		l.reads.appliedLocked(l)
		l.updateLocalReadsLocked()
	}
	l.advanceLocked()
	next := l.applies
	l.applies = nil
	writes := len(l.appends) > 0 || l.leaderAppeared
	l.leaderAppeared = false
	l.mu.Unlock()
	l.sendOutbound()
	if writes {
		l.wakeWriter()
	}
	return next
}

// apply applies the entries of messages to the state machine and hands results to proposers.
func (l *Log) apply(messages []*raftpb.Message) {
	if len(messages) == 0 {
		return
	}
	start := l.opts.Clock.Now()
	entries, bytes := 0, uint64(0)
	for _, m := range messages {
		entries += len(m.GetEntries())
		for _, e := range m.GetEntries() {
			bytes += uint64(len(e.GetData()))
			if err := l.applyEntry(e); err != nil {
				l.die(err)
				return
			}
		}
	}
	l.flushRun()
	if l.opts.Events.Applied != nil {
		l.opts.Events.Applied(ApplyInfo{Index: l.applied.Load(), Entries: entries, Took: l.opts.Clock.Now().Sub(start)})
	}
	l.retain(entries, bytes)
	l.maybeSnapshot(bytes)
}

// applyEntry adds a proposal to the run of entries that are applied together, or applies the run and then e.
func (l *Log) applyEntry(e *raftpb.Entry) error {
	if want := l.applied.Load() + uint64(len(l.run)) + 1; e.GetIndex() != want {
		return fmt.Errorf("raftlog: entry %d was committed where %d is due", e.GetIndex(), want)
	}
	if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
		l.run = append(l.run, Entry{Index: e.GetIndex(), Term: e.GetTerm(), Data: e.GetData()})
		return nil
	}
	l.flushRun()
	before := l.appliedTerm.Load()
	if e.GetType() == raftpb.EntryNormal {
		l.sm.ApplyEmpty(e.GetIndex(), e.GetTerm())
		l.setApplied(e.GetIndex(), e.GetTerm())
	} else if err := l.applyConfChange(e); err != nil {
		return err
	}
	l.expire(before)
	return nil
}

// flushRun applies the run and hands its results to their proposers.
func (l *Log) flushRun() {
	if len(l.run) == 0 {
		return
	}
	results := l.sm.Apply(l.run)
	last := l.run[len(l.run)-1]
	clear(l.run)
	l.run = l.run[:0]
	before := l.appliedTerm.Load()
	l.setApplied(last.Index, last.Term)
	l.props.deliver(results)
	l.expire(before)
}

func (l *Log) setApplied(index, term uint64) {
	l.appliedTerm.Store(term)
	l.applied.Store(index)
}

// expire has proposals of earlier terms proposed again if an entry of a later one than before was applied. Results
// must have been delivered.
func (l *Log) expire(before uint64) {
	term := l.appliedTerm.Load()
	if term == before {
		return
	}
	if n := l.props.expire(term); n > 0 {
		l.opts.Logger.Info("proposing again what a lost leader took along", zap.Int("proposals", n), zap.Uint64("term", term))
		l.wakeWriter()
	}
}

// applyConfChange applies a change of membership to raft and to the state machine, or to neither if it does
// not fit the membership.
func (l *Log) applyConfChange(e *raftpb.Entry) error {
	change, err := decodeConfChange(e)
	if err != nil {
		return err
	}
	if refused := l.sm.CheckConfChange(change); refused != nil {
		l.opts.Logger.Warn("refused a configuration change", zap.Uint64("index", change.Index), zap.Error(refused))
		l.sm.ApplyEmpty(change.Index, change.Term)
		l.setApplied(change.Index, change.Term)
		l.props.fail(change.ID, refused)
		return nil
	}
	l.mu.Lock()
	conf := l.rn.ApplyConfChange(change.raft)
	l.setConfLocked(conf)
	l.mu.Unlock()
	if err := l.sm.ApplyConfChange(change, conf); err != nil {
		return fmt.Errorf("apply configuration change at index %d: %w", change.Index, err)
	}
	l.setApplied(change.Index, change.Term)
	l.props.deliver([]Result{{ID: change.ID}})
	return nil
}
