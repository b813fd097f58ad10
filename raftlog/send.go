// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"go.uber.org/zap"
)

// transfer is a snapshot of the state on its way to a member, from raft's asking for it until
// ReportSnapshot.
type transfer struct {
	message *raftpb.Message
	// index is from where raft believes that the receiver will go on. The content may be newer.
	index uint64
	start time.Time
	bytes int64
}

func (t *transfer) to() uint64 { return t.message.GetTo() }

// transfers are the snapshots being sent, one for a member at most. Guarded by Log.mu.
type transfers struct {
	byMember map[uint64]*transfer
	waiting  []*transfer
	running  int
	// pins are the indexes after which members that were sent a snapshot need entries, until they have caught up.
	pins map[uint64]uint64
}

// queueSnapshotLocked takes raft's message that a member needs a snapshot. What raft put into it is where the
// member could go on by entries; the content is opened when it is its turn, and is what the message says then.
func (l *Log) queueSnapshotLocked(m *raftpb.Message) {
	if l.opts.Transport == nil {
		return
	}
	s := &l.sending
	if s.byMember[m.GetTo()] != nil {
		// raft forgot the last one, as when this member lost and won leadership. It asks again in a heartbeat.
		l.rn.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		return
	}
	t := &transfer{message: m, index: m.GetSnapshot().GetMetadata().GetIndex(), start: l.opts.Clock.Now()}
	s.byMember[t.to()], s.pins[t.to()] = t, t.index
	s.waiting = append(s.waiting, t)
	l.startTransfersLocked()
}

func (l *Log) startTransfersLocked() {
	s := &l.sending
	for s.running < l.opts.SnapshotSends && len(s.waiting) > 0 {
		t := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.running++
		l.background(func() { l.sendSnapshot(t) })
	}
}

// sendSnapshot opens the state machine's content and hands it to the transport, which reports what becomes of it.
func (l *Log) sendSnapshot(t *transfer) {
	content, err := l.openSnapshot(t)
	if err != nil {
		l.opts.Logger.Error("cannot send a snapshot", zap.String("to", fmt.Sprintf("%x", t.to())), zap.Error(err))
		l.ReportSnapshot(t.to(), raft.SnapshotFailure)
		return
	}
	t.message.Snapshot = content.Snapshot
	l.opts.Logger.Info("sending a snapshot", zap.String("to", fmt.Sprintf("%x", t.to())),
		zap.Uint64("snapshot-index", content.Snapshot.GetMetadata().GetIndex()), zap.Int64("bytes", content.Size))
	l.opts.Transport.SendSnapshot(t.message, content)
}

// openSnapshot returns the content to be sent, unless that makes no sense any more.
func (l *Log) openSnapshot(t *transfer) (*StateSnapshot, error) {
	content, err := l.sm.OpenSnapshot(l.ctx, t.to(), t.index)
	if err != nil {
		return nil, fmt.Errorf("open the state machine's content: %w", err)
	}
	if index := content.Snapshot.GetMetadata().GetIndex(); index < t.index {
		err = fmt.Errorf("the state machine's content is of entry %d, before %d", index, t.index)
	}
	l.mu.Lock()
	t.bytes = content.Size
	if err == nil && (l.dead || !l.leads.Load() || l.term.Load() != t.message.GetTerm()) {
		err = ErrNoLeader
	}
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w (close it: %w)", err, content.Body.Close())
	}
	return content, nil
}

// ReportSnapshot tells what became of a snapshot that Transport.SendSnapshot was given for member. After a failure
// raft asks for another one when it next hears from the member.
func (l *Log) ReportSnapshot(member uint64, status raft.SnapshotStatus) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return
	}
	s := &l.sending
	t := s.byMember[member]
	if t != nil {
		delete(s.byMember, member)
		s.running--
		l.startTransfersLocked()
	}
	if status == raft.SnapshotFailure {
		delete(s.pins, member)
	}
	l.rn.ReportSnapshot(member, status)
	l.advanceLocked()
	l.unlockAndWake()
	if t != nil {
		l.transferEnded(t, status)
	}
}

func (l *Log) transferEnded(t *transfer, status raft.SnapshotStatus) {
	info := TransferInfo{
		Member: t.to(),
		Index:  t.message.GetSnapshot().GetMetadata().GetIndex(),
		Bytes:  t.bytes,
		Took:   l.opts.Clock.Now().Sub(t.start),
	}
	tell := l.opts.Events.SnapshotSent
	if status == raft.SnapshotFailure {
		tell = l.opts.Events.SnapshotSendFailed
	}
	if tell != nil {
		tell(info)
	}
}

// pinnedLocked returns the lowest index after which a member will need entries that is being sent a snapshot, or has been
// and has not caught up since; false if there is no such member.
func (l *Log) pinnedLocked() (uint64, bool) {
	pins := l.sending.pins
	if len(pins) == 0 || l.dead {
		return 0, false
	}
	if !l.leads.Load() {
		clear(pins)
		return 0, false
	}
	var lowest uint64
	members := 0
	l.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		pin, ok := pins[id]
		if !ok {
			return
		}
		caughtUp := pr.Match >= pin && pr.Match+l.opts.SnapshotCatchUpEntries > l.applied.Load()
		pin = max(pin, pr.Match)
		if caughtUp && l.sending.byMember[id] == nil {
			delete(pins, id)
			return
		}
		if members == 0 || pin < lowest {
			lowest = pin
		}
		members++
	})
	if members == 0 && len(l.sending.byMember) == 0 {
		clear(pins) // of members that were removed
	}
	return lowest, members > 0
}
