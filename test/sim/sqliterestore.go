// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog/peer"
	"keelson.io/keelson/sqlstore"
)

// noPeers is a transport's side of membership: the simulated network knows everybody.
type noPeers struct{}

func (noPeers) AddPeer(uint64, []string)    {}
func (noPeers) UpdatePeer(uint64, []string) {}
func (noPeers) RemovePeer(uint64)           {}
func (noPeers) RemoveAllPeers()             {}

// ActiveSince says that nobody was heard of; only checks ask, which the simulation does not run.
func (noPeers) ActiveSince(uint64) time.Time { return time.Time{} }

// Kind says what all nodes are.
func (noPeers) Kind(context.Context, uint64) (peer.Kind, error) { return peer.Keelson, nil }

// adapter makes the state machine of a store.
func (d *sqliteDisk) adapter(n *node, store *sqlstore.Store, le *lessor.Lessor) *etcdapi.StateMachine {
	m := etcdapi.NewStateMachine(store, le, etcdapi.Options{MaxLearners: maxNodes})
	m.Connect(n.id, noPeers{}, d.received())
	return m
}

// received is the folder of contents on their way to Restore. They are synced when they are there.
func (d *sqliteDisk) received() string { return filepath.Join(d.dir, "received") }

// finishRestore does, in the program's place, what a start begins with: what was received for the newest snapshot in the
// log takes the database's place, and all else that was received goes.
func (d *sqliteDisk) finishRestore(received uint64) error {
	path := peer.SnapshotPath(d.received(), received)
	if _, err := os.Stat(path); err == nil && received > 0 {
		if err := sqlstore.FinishRestore(context.Background(), d.path(), path, received); err != nil {
			return err
		}
		if err := d.markSynced(max(received, d.synced)); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(d.received()), os.MkdirAll(d.received(), 0o700))
}

// receive keeps to what rafthttp does: a body has its name when it is all there, and what has that name stays.
func (m *sqliteMachine) receive(index uint64, body []byte) error {
	path := peer.SnapshotPath(m.disk.received(), index)
	part := path + ".part"
	if err := os.WriteFile(part, body, 0o600); err != nil {
		return err
	}
	s := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(index)}}
	if err := m.VerifySnapshot(m.node.world.context, s, part); err != nil {
		return errors.Join(errRefused, os.Remove(part))
	}
	if _, err := os.Stat(path); err == nil {
		return os.Remove(part)
	}
	return os.Rename(part, path)
}

// errRefused stands for the reason, which names folders that differ from run to run.
var errRefused = errors.New("the snapshot's body is not whole")

// Restore implements raftlog.StateMachine.
func (m *sqliteMachine) Restore(ctx context.Context, s *raftpb.Snapshot) error {
	m.node.maybeCrash("restore-before")
	if err := m.StateMachine.Restore(ctx, s); err != nil {
		return err
	}
	index := s.GetMetadata().GetIndex()
	if err := m.disk.markSynced(index); err != nil {
		return err
	}
	m.node.maybeCrash("restore-after")
	m.node.world.history.restored(m.node, index)
	return nil
}
