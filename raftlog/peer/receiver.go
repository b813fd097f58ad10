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
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// receiver stands between rafthttp and the handler.
type receiver struct {
	Handler
	self   uint64
	dir    string
	logger *zap.Logger

	// snapshots is held while one is verified and given to the log: two may be of one index, in one file.
	snapshots sync.Mutex
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
	path := SnapshotPath(r.dir, m.GetSnapshot().GetMetadata().GetIndex())
	err := r.VerifySnapshot(ctx, m.GetSnapshot(), path)
	if err == nil {
		if err = r.Step(ctx, m); err == nil {
			return nil
		}
	}
	r.logger.Warn("refused a snapshot", zap.String("path", path), zap.Error(err))
	if rm := os.Remove(path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// IsIDRemoved implements rafthttp.Raft.
func (r *receiver) IsIDRemoved(id uint64) bool { return r.IsRemoved(id) }

// refusal is an error that rafthttp tells a member in the way by which it knows that it is not wanted.
type refusal string

func (r refusal) Error() string { return string(r) }

// WriteTo answers a member's request.
func (r refusal) WriteTo(w http.ResponseWriter) { http.Error(w, string(r), http.StatusForbidden) }
