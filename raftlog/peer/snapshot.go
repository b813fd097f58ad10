// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog"
)

// SnapshotPath is where the content of the snapshot of an index is received, as etcd names it.
func SnapshotPath(dir string, index uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x.snap.db", index))
}

// Leftovers of a run that ended while it received: rafthttp's temporary files, and content that no log refers to.
// What a log does refer to has been put in its place before.
var leftovers = []string{"tmp*", "*.snap.db"}

func removeLeftovers(dir string) error {
	for _, pattern := range leftovers {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("peer: %w", err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("peer: remove what was received and not used: %w", err)
			}
		}
	}
	return nil
}

// SendSnapshot implements raftlog.Transport.
func (t *Transport) SendSnapshot(m *raftpb.Message, s *raftlog.StateSnapshot) {
	message := snap.NewMessage(m, s.Body, s.Size)
	if t.state.Load() == running && t.rt.Get(types.ID(m.GetTo())) != nil {
		t.rt.SendSnapshot(message)
		return
	}
	message.CloseWithError(errNotConnected)
	t.receiver.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
}

var errNotConnected = errors.New("peer: the receiver of a snapshot is not connected")
