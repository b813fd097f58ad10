// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// receiver stands between rafthttp and the handler.
type receiver struct {
	Handler
	self   uint64
	dir    string
	logger *zap.Logger
	// reports are told to the handler by a goroutine of their own. rafthttp reports from goroutines that it waits for
	// while it disconnects a member, and the handler may be sending, which waits for that.
	reports chan report
	quit    chan struct{}
	telling sync.WaitGroup

	// snapshots is held while one is verified and given to the log: two may be of one index, in one file.
	snapshots sync.Mutex
	// taken is the index of the newest that the log took, and file what was received for it. That is the log's, however
	// many members send it again: the log may be about to restore it, and has no other copy.
	taken uint64
	file  os.FileInfo

	// refused makes a member wait whose snapshots were refused.
	refused refused
}

// report is what became of something that was sent to a member.
type report struct {
	member   uint64
	snapshot bool // it was a snapshot, and status its end; a message that was not delivered otherwise
	status   raft.SnapshotStatus
}

// maxReports bounds the reports that wait. Beyond it those of messages are dropped, since raft finds out by
// itself, and those of snapshots wait.
const maxReports = 256

func newReceiver(opts *Options) *receiver {
	return &receiver{
		self: opts.MemberID, dir: opts.SnapDir, logger: opts.Logger,
		reports: make(chan report, maxReports), quit: make(chan struct{}),
		refused: refused{clock: opts.Clock},
	}
}

// start gives to h what comes, and what was reported before.
func (r *receiver) start(h Handler) {
	r.Handler = h
	r.telling.Go(r.tell)
}

// tell tells the handler what is reported, until stop.
func (r *receiver) tell() {
	for {
		select {
		case told := <-r.reports:
			if told.snapshot {
				r.Handler.ReportSnapshot(told.member, told.status)
			} else {
				r.Handler.ReportUnreachable(told.member)
			}
		case <-r.quit:
			return
		}
	}
}

func (r *receiver) stop() {
	close(r.quit)
	r.telling.Wait()
}

// ReportUnreachable implements rafthttp.Raft.
func (r *receiver) ReportUnreachable(member uint64) {
	select {
	case r.reports <- report{member: member}:
	default:
	}
}

// ReportSnapshot implements rafthttp.Raft.
func (r *receiver) ReportSnapshot(member uint64, status raft.SnapshotStatus) {
	select {
	case r.reports <- report{member: member, snapshot: true, status: status}:
	case <-r.quit:
	}
}

// Process implements rafthttp.Raft. rafthttp has received a snapshot's content before it gives its message.
func (r *receiver) Process(ctx context.Context, m *raftpb.Message) error {
	switch {
	case r.IsRemoved(m.GetFrom()):
		r.logger.Warn("rejected Raft message from removed member", zap.Stringer("removed-member-id", types.ID(m.GetFrom())))
		return refusal("cannot process message from removed member")
	case m.GetTo() != r.self:
		r.logger.Warn("rejected Raft message to mismatch member", zap.Stringer("mismatch-member-id", types.ID(m.GetTo())))
		return refusal("cannot process message to mismatch member")
	case m.GetType() == raftpb.MsgSnap:
		return r.processSnapshot(ctx, m)
	}
	return r.Step(ctx, m)
}

func (r *receiver) processSnapshot(ctx context.Context, m *raftpb.Message) error {
	r.snapshots.Lock()
	defer r.snapshots.Unlock()
	index := m.GetSnapshot().GetMetadata().GetIndex()
	path := SnapshotPath(r.dir, index)
	if index == r.taken {
		return r.processAgain(ctx, m, path)
	}
	var file os.FileInfo
	err := r.VerifySnapshot(ctx, m.GetSnapshot(), path)
	if err == nil {
		file, err = os.Stat(path) // of an etcd's content there is another file now
	}
	if err == nil {
		err = r.Step(ctx, m)
	}
	if err == nil {
		if index > r.taken {
			r.taken, r.file = index, file
		}
		r.refused.forget()
		return nil
	}
	pause := r.refused.note(m.GetFrom())
	r.logger.Warn("refused a snapshot", zap.String("path", path), zap.Stringer("remote-peer-id", types.ID(m.GetFrom())),
		zap.Duration("none-taken-from-it-for", pause), zap.Error(err))
	if rm := os.Remove(path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// processAgain takes a snapshot that the log took before. The log only wants to answer it. Its content is not looked at:
// the state machine may be making it its own, and would lose its locks on the file when that is closed here. What came
// after the state machine had taken the first over is of no use to anybody.
func (r *receiver) processAgain(ctx context.Context, m *raftpb.Message, path string) error {
	file, err := os.Stat(path)
	if err == nil && !os.SameFile(file, r.file) {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.logger.Warn("cannot remove a snapshot that came again", zap.String("path", path), zap.Error(err))
	}
	return r.Step(ctx, m)
}

// IsIDRemoved implements rafthttp.Raft.
func (r *receiver) IsIDRemoved(id uint64) bool { return r.IsRemoved(id) }

// refusal is an error that rafthttp tells a member in the way by which it knows that it is not wanted.
type refusal string

func (r refusal) Error() string { return string(r) }

// WriteTo answers a member's request.
func (r refusal) WriteTo(w http.ResponseWriter) { http.Error(w, string(r), http.StatusForbidden) }
