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
	"go.uber.org/zap"

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
	body := &content{ReadCloser: s.Body, size: s.Size}
	message := snap.NewMessage(m, body, s.Size)
	// What the message wraps its body in counts without a lock. A receiver that answers before it has read all has the
	// body closed while it is read.
	message.ReadCloser = body
	go t.follow(message, body)
	begin := t.ask
	if s.Portable {
		begin = t.send
	}
	if !begin(message) {
		message.CloseWithError(errNotConnected)
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
		err = errors.Join(err, message.ReadCloser.Close()) // now: while it is open it holds up the sender's database
		t.pause(unfitPause)
		message.CloseWithError(err)
		return
	}
	if !t.send(message) {
		message.CloseWithError(errNotConnected)
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

// answerStalls is for how many StallTimeouts a receiver may be busy with a snapshot that it has got: it reads all of it.
const answerStalls = 10

// follow reports what becomes of a snapshot, once: the message is closed by whoever has done with it, with success or
// without, or the receiver stalls. rafthttp can't be made to end a transfer then, so what it reports of one comes too
// late, and might be taken for the end of the next one to the same member: see snapshotless.
func (t *Transport) follow(message *snap.Message, body *content) {
	ticker := t.opts.Clock.NewTicker(t.opts.StallTimeout)
	defer ticker.Stop()
	status := raft.SnapshotFailure
	for before, silent := int64(-1), 0; silent < answerStalls && (silent == 0 || body.ended.Load()); {
		select {
		case sent := <-message.CloseNotify():
			if sent {
				status = raft.SnapshotFinish
			}
			t.receiver.ReportSnapshot(message.GetTo(), status)
			return
		case <-ticker.C():
		}
		now := body.reads.Load()
		if silent++; now != before {
			before, silent = now, 0
		}
	}
	sent := body.ended.Load()
	err := body.Close()
	t.opts.Logger.Warn("the receiver of a snapshot stalls", zap.Stringer("remote-peer-id", types.ID(message.GetTo())),
		zap.Bool("all-sent", sent), zap.Error(err))
	t.receiver.ReportSnapshot(message.GetTo(), status)
}

// snapshotless is the receiver without rafthttp's reports of snapshots, which don't say of which transfer they are.
type snapshotless struct{ *receiver }

// ReportSnapshot implements rafthttp.Raft.
func (snapshotless) ReportSnapshot(uint64, raft.SnapshotStatus) {}

// content is the body of a snapshot. It is as long as was said, or reading it fails. It may be closed while it is read.
type content struct {
	io.ReadCloser
	size  int64
	given atomic.Int64 // bytes
	reads atomic.Int64
	once  sync.Once
	ended atomic.Bool // it was closed
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

// Close implements io.Closer. What went wrong is told the first time.
func (c *content) Close() (err error) {
	c.once.Do(func() {
		c.ended.Store(true)
		err = c.ReadCloser.Close()
	})
	return err
}
