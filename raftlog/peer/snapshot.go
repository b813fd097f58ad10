// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

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
	message := snap.NewMessage(m, newStalling(s.Body, t.opts.Clock, t.opts.StallTimeout), s.Size)
	if t.state.Load() == running && t.rt.Get(types.ID(m.GetTo())) != nil {
		t.rt.SendSnapshot(message)
		return
	}
	message.CloseWithError(errNotConnected)
	t.receiver.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
}

var errNotConnected = errors.New("peer: the receiver of a snapshot is not connected")

// stalling is a body that closes itself when nobody reads from it for a while.
type stalling struct {
	io.ReadCloser
	reads atomic.Int64
	once  sync.Once
	done  chan struct{}
}

func newStalling(body io.ReadCloser, clock raftlog.Clock, timeout time.Duration) *stalling {
	s := &stalling{ReadCloser: body, done: make(chan struct{})}
	go s.watch(clock.NewTicker(timeout))
	return s
}

// watch closes the body when it was not read between two ticks. Whoever reads next gets the error of a closed body.
func (s *stalling) watch(ticker raftlog.Ticker) {
	defer ticker.Stop()
	for before := int64(-1); ; {
		select {
		case <-ticker.C():
		case <-s.done:
			return
		}
		now := s.reads.Load()
		if now == before {
			// An error is that of the state machine's reader, which nobody needs any more.
			_ = s.ReadCloser.Close()
			return
		}
		before = now
	}
}

// Read implements io.Reader.
func (s *stalling) Read(p []byte) (int, error) {
	s.reads.Add(1)
	return s.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (s *stalling) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.ReadCloser.Close()
}
