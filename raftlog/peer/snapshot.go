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
	body := newContent(s, t.opts.Clock, t.opts.StallTimeout)
	message := snap.NewMessage(m, body, s.Size)
	// What the message wraps its body in counts without a lock. A receiver that answers before it has read all has the
	// body closed while it is read.
	message.ReadCloser = body
	begin := t.ask
	if s.Portable {
		begin = t.send
	}
	if !begin(message) {
		t.giveUp(message, errNotConnected)
	}
}

// ask sends a snapshot after its receiver was asked whether it can take it, without waiting for that. It returns false
// if the receiver is not connected.
func (t *Transport) ask(message *snap.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != running || t.links.Load().Get(types.ID(message.GetTo())) == nil {
		return false
	}
	t.sends.Go(func() { t.sendIfTaken(message) })
	return true
}

func (t *Transport) sendIfTaken(message *snap.Message) {
	to := message.GetTo()
	if err := t.mayTakeSnapshot(to); err != nil {
		t.sayUnfit(to, err)
		message.CloseWithError(err)
		t.pause(unfitPause)
		t.receiver.ReportSnapshot(to, raft.SnapshotFailure)
		return
	}
	if !t.send(message) {
		t.giveUp(message, errNotConnected)
	}
}

// send sends a snapshot. It returns false if the receiver is not connected.
func (t *Transport) send(message *snap.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != running || t.links.Load().Get(types.ID(message.GetTo())) == nil {
		return false
	}
	t.links.Load().SendSnapshot(message)
	return true
}

// giveUp closes a snapshot that is not sent, and reports it.
func (t *Transport) giveUp(message *snap.Message, err error) {
	message.CloseWithError(err)
	t.receiver.ReportSnapshot(message.GetTo(), raft.SnapshotFailure)
}

// pause waits, until Stop at most.
func (t *Transport) pause(d time.Duration) {
	timer := t.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-t.ctx.Done():
	}
}

var errNotConnected = errors.New("peer: the receiver of a snapshot is not connected")

// content is the body of a snapshot. It is as long as was said, or reading it fails; and it closes itself when nobody
// reads from it for a while. It may be closed while it is read.
type content struct {
	io.ReadCloser
	size  int64
	given atomic.Int64 // bytes
	reads atomic.Int64
	once  sync.Once
	done  chan struct{}
}

func newContent(s *raftlog.StateSnapshot, clock raftlog.Clock, timeout time.Duration) *content {
	c := &content{ReadCloser: s.Body, size: s.Size, done: make(chan struct{})}
	go c.watch(clock.NewTicker(timeout))
	return c
}

// watch closes the body when it was not read between two ticks. Whoever reads next gets the error of a closed body.
func (c *content) watch(ticker raftlog.Ticker) {
	defer ticker.Stop()
	for before := int64(-1); ; {
		select {
		case <-ticker.C():
		case <-c.done:
			return
		}
		now := c.reads.Load()
		if now == before {
			// An error is that of the state machine's reader, which nobody needs any more.
			_ = c.ReadCloser.Close()
			return
		}
		before = now
	}
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	c.reads.Add(1)
	n, err := c.ReadCloser.Read(p)
	given := c.given.Add(int64(n))
	if given > c.size || errors.Is(err, io.EOF) && given < c.size {
		return n, fmt.Errorf("peer: a snapshot's content of %d bytes should have %d", given, c.size)
	}
	return n, err
}

// Close implements io.Closer.
func (c *content) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.ReadCloser.Close()
}
