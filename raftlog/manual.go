// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// Manual is a log without goroutines: whoever has it calls what the writer, the applier and the ticker would do,
// step by step, so that a simulation decides what happens when, and the same steps have the same result. All
// its methods, and those of its Log, must be called by one goroutine. Of the Log's, those that wait
// (Propose, ProposeConfChange, ReadIndex, TransferLeadership, Stop) must not be called. raft draws the times of elections
// from crypto/rand.Reader: who wants the same run again puts a seeded one there.
type Manual struct {
	l      *Log
	batch  batch // saved, or to be saved again if failed is set
	saved  bool  // batch is saved and FinishSave is due
	failed error
}

// OpenManual reads the log or begins one, as Open does. Errors as Open's.
func OpenManual(opts Options, sm StateMachine) (*Manual, error) {
	l, err := prepare(opts, sm)
	if err != nil {
		return nil, err
	}
	l.manual = true
	// The roles are the caller's for good: nothing is handed to anybody.
	l.writer.acquire()
	l.applier.acquire()
	m := &Manual{l: l}
	l.mu.Lock()
	l.campaignLocked()
	m.release()
	return m, nil
}

// release takes what raft has ready, unlocks the log and sends.
func (m *Manual) release() {
	m.l.advanceLocked()
	m.l.mu.Unlock()
	m.l.sendOutbound()
}

// Log returns the log, for Step, Status, Progress and reports.
func (m *Manual) Log() *Log { return m.l }

// Tick moves raft's time by one TickInterval.
func (m *Manual) Tick() { m.l.tick() }

// Propose queues data, as Log.Propose, for the next batch. The channel is sent one Outcome.
func (m *Manual) Propose(id uint64, data []byte) <-chan Outcome {
	entry, err := proposalEntry(id, data)
	return m.enqueue(id, entry, err)
}

// ProposeConfChange queues a change of membership, as Log.ProposeConfChange. The channel is sent one Outcome.
func (m *Manual) ProposeConfChange(cc *raftpb.ConfChange) <-chan Outcome {
	entry, err := confChangeEntry(cc)
	return m.enqueue(cc.GetId(), entry, err)
}

func (m *Manual) enqueue(id uint64, entry *raftpb.Entry, err error) <-chan Outcome {
	w := &waiter{c: make(chan Outcome, 1)}
	if err == nil {
		err = m.l.enqueue(proposal{id: id, entry: entry, w: w})
	}
	if err != nil {
		w.c <- Outcome{Err: m.l.proposalFailed(err)}
	}
	return w.c
}

// ReadIndex begins a read, as Log.ReadIndex. The channel is sent nil when the local state may be read.
func (m *Manual) ReadIndex() <-chan error {
	c := make(chan error, 1)
	if m.l.localReads.Load() {
		c <- nil
		return c
	}
	m.l.mu.Lock()
	if m.l.dead {
		m.l.mu.Unlock()
		c <- m.l.readFailed(ErrStopped)
		return c
	}
	b := m.l.reads.joinLocked(m.l)
	b.tell = append(b.tell, c)
	m.release()
	return c
}

// Transfer begins to hand leadership to a voter, 0 meaning the one best fit. Errors: ErrNoLeader, ErrStopped.
func (m *Manual) Transfer(to uint64) error {
	_, err := m.l.transfer(to)
	return err
}

// BeginSave collects what is to be saved, queued proposals among it, and gives it to Storage.Save. It returns
// false if there is nothing, if the last batch is not finished, or if Save failed: a batch that may be saved
// later is tried again, after Storage.Reopen, by the next call.
func (m *Manual) BeginSave() bool {
	if m.saved {
		return false
	}
	err := m.failed
	if err != nil {
		err = m.l.storage.Reopen()
	} else if m.batch = m.l.collect(batch{}); m.batch.empty() {
		return false
	}
	if err == nil {
		err = m.l.store(&m.batch)
	}
	m.failed = err
	switch {
	case err == nil:
		m.saved = true
		m.l.space.recover()
	case errors.Is(err, disk.ErrNotSaved):
		m.l.space.fail()
	default:
		m.l.die(err)
		m.batch = batch{}
	}
	return m.saved
}

// FinishSave tells raft that what BeginSave gave to the storage is durable. Without such a batch it does nothing.
func (m *Manual) FinishSave() {
	if !m.saved {
		return
	}
	b := m.batch
	m.batch, m.saved = batch{}, false
	if err := m.l.remember(&b); err != nil {
		m.l.die(err)
		return
	}
	m.l.finish(b)
}

// Apply applies what is committed, as one batch, or restores a snapshot that is saved. It returns false if there is
// neither.
func (m *Manual) Apply() bool { return m.l.applyNow() }

// Background does one job of those that a Log does beside everything else, as making snapshots and opening them
// to be sent, in the order in which they came up. It returns false if there is none.
func (m *Manual) Background() bool { return m.l.runJob() }

// Crash ends the log as a crash of the process does: nothing is saved or closed. Whoever waits is sent ErrStopped.
func (m *Manual) Crash() {
	m.l.die(nil)
	m.l.jobs = nil
}

// background has job done beside everything else. It belongs to l.goroutines.
func (l *Log) background(job func()) {
	if l.manual {
		l.jobs = append(l.jobs, job)
		return
	}
	l.goroutines.Go(job)
}

func (l *Log) runJob() bool {
	if len(l.jobs) == 0 {
		return false
	}
	job := l.jobs[0]
	l.jobs = l.jobs[1:]
	job()
	return true
}

// applyNow is Manual.Apply.
func (l *Log) applyNow() bool {
	if l.restoring != nil {
		l.restore()
		l.unapplied = l.stepApplied(nil)
		return true
	}
	next := l.unapplied
	if l.unapplied = nil; len(next) == 0 {
		next = l.stepApplied(nil)
	}
	if len(next) == 0 {
		return false
	}
	l.apply(next)
	l.unapplied = l.stepApplied(next)
	return true
}

// stepSnapshotNow applies all there is and gives raft the offer. What makes a snapshot at the moment is done first.
func (l *Log) stepSnapshotNow(o *offer) error {
	for {
		for l.applyNow() {
		}
		l.takeOffered()
		select {
		case err := <-o.done:
			return err
		default:
		}
		if !l.runJob() {
			l.withdraw(o)
			return ErrStateTransfer // one before it is not restored yet
		}
	}
}
