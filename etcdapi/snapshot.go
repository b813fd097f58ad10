// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/peer"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/backend"
)

// snapshotRetryPause is how long the log is not told that a snapshot could not be
// opened: raft asks for the next one at once when it is told.
const snapshotRetryPause = 5 * time.Second

// OpenSnapshot implements raftlog.StateMachine: the content is the store's file for a
// keelson, and an etcd backend file for an etcd.
func (m *StateMachine) OpenSnapshot(ctx context.Context, to, atLeast uint64) (*raftlog.StateSnapshot, error) {
	s, err := m.openFor(ctx, to, atLeast)
	if err != nil {
		select {
		case <-m.opts.Clock.After(snapshotRetryPause):
		case <-ctx.Done():
		}
	}
	return s, err
}

func (m *StateMachine) openFor(ctx context.Context, to, atLeast uint64) (*raftlog.StateSnapshot, error) {
	kind, err := m.members.peers.Kind(ctx, to)
	if err != nil {
		return nil, err
	}
	open := m.store.OpenSnapshot
	if kind == peer.Etcd {
		open = m.store.OpenBackend
	}
	s, err := open(ctx)
	if err != nil {
		return nil, err
	}
	metadata, err := m.describe(s, atLeast)
	if err != nil {
		return nil, errors.Join(err, s.Body.Close())
	}
	return &raftlog.StateSnapshot{Snapshot: metadata, Size: s.Size, Body: s.Body, Portable: kind == peer.Etcd}, nil
}

// describe is what other members are told of a snapshot.
func (m *StateMachine) describe(s *sqlstore.Snapshot, atLeast uint64) (*raftpb.Snapshot, error) {
	if s.Index < atLeast {
		return nil, fmt.Errorf("etcdapi: the store's content is of entry %d, not of %d or later", s.Index, atLeast)
	}
	conf := new(raftpb.ConfState)
	if err := proto.Unmarshal(s.ConfState, conf); err != nil {
		return nil, fmt.Errorf("etcdapi: configuration in the store: %w", err)
	}
	data, err := snapshotData(snapshotMembers{s}, &m.opts)
	if err != nil {
		return nil, err
	}
	return &raftpb.Snapshot{
		Data:     data,
		Metadata: &raftpb.SnapshotMetadata{Index: &s.Index, Term: &s.Term, ConfState: conf},
	}, nil
}

// snapshotMembers is the memberSource of a snapshot.
type snapshotMembers struct{ *sqlstore.Snapshot }

func (s snapshotMembers) Members() []sqlstore.Member { return s.Snapshot.Members }
func (s snapshotMembers) Removed() []uint64          { return s.Snapshot.Removed }
func (s snapshotMembers) ClusterVersion() string     { return s.Snapshot.ClusterVersion }

// VerifySnapshot returns nil if the file at path is a complete content for s. An etcd's
// is made a keelson's first. Errors: it is cut off, damaged, or of another entry.
func (m *StateMachine) VerifySnapshot(ctx context.Context, s *raftpb.Snapshot, path string) error {
	etcds, err := backend.IsBackend(path)
	if err != nil {
		return err
	}
	if etcds {
		start := m.opts.Clock.Now()
		if err := sqlstore.ImportBackend(ctx, path, m.opts.Clock); err != nil {
			return err
		}
		m.opts.Logger.Info("imported the database snapshot of an etcd member", zap.String("path", path),
			zap.Duration("took", m.opts.Clock.Now().Sub(start)))
	}
	return sqlstore.VerifySnapshot(ctx, path, s.GetMetadata().GetIndex())
}

// snapshotSuffix ends the names of received content.
const snapshotSuffix = ".snap.db"

// Restore implements raftlog.StateMachine: what the peers' transport received for
// s takes the place of the store's file.
func (m *StateMachine) Restore(ctx context.Context, s *raftpb.Snapshot) error {
	if metrics := m.metrics.Load(); metrics != nil {
		metrics.SnapshotApplying.Set(1)
		defer metrics.SnapshotApplying.Set(0)
	}
	index := s.GetMetadata().GetIndex()
	if err := m.store.Restore(ctx, peer.SnapshotPath(m.snapDir, index)); err != nil {
		m.fail(err)
		return err
	}
	if err := m.followVersion(); err != nil {
		return err
	}
	m.members.peers.RemoveAllPeers()
	m.members.connect(m.store)
	m.removeOlder(index)
	return nil
}

// removeOlder removes received content that a newer one has made useless. A file
// that stays costs space until the next start, no more.
func (m *StateMachine) removeOlder(index uint64) {
	newest := peer.SnapshotPath(m.snapDir, index)
	received, err := filepath.Glob(filepath.Join(m.snapDir, "*"+snapshotSuffix))
	if err != nil {
		m.opts.Logger.Warn("cannot look for received snapshots", zap.Error(err))
	}
	for _, path := range received {
		// Names are hexadecimal numbers of one length, so they sort as these do.
		if path >= newest {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.opts.Logger.Warn("cannot remove a received snapshot", zap.String("path", path), zap.Error(err))
		}
	}
}
