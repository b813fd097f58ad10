// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog"
)

// Handler takes what comes from other members. A raftlog.Log has the first three methods.
type Handler interface {
	// Step takes a message; one of type MsgSnap after its content was received and verified.
	Step(ctx context.Context, m *raftpb.Message) error
	// ReportUnreachable tells that a message to member was not delivered.
	ReportUnreachable(member uint64)
	// ReportSnapshot tells what became of a snapshot that was sent to member.
	ReportSnapshot(member uint64, status raft.SnapshotStatus)
	// IsRemoved says whether member was removed from the cluster: nothing is taken from it, and it is told so.
	IsRemoved(member uint64) bool
	// VerifySnapshot returns nil if the file at path is a complete content for s.
	VerifySnapshot(ctx context.Context, s *raftpb.Snapshot, path string) error
}

// Options of a Transport.
type Options struct {
	// Logger takes what operators should read. Default: none.
	Logger *zap.Logger
	// MemberID and ClusterID are this member's. Required.
	MemberID, ClusterID uint64
	// Name is this member's, for rafthttp's statistics.
	Name string
	// URLs are where the other members reach this one; they are told, so that they can answer a member that
	// they do not know yet.
	URLs types.URLs
	// TLS secures connections to https URLs.
	TLS transport.TLSInfo
	// SnapDir is where received content is kept until the state machine takes it. Required.
	SnapDir string
	// ElectionTimeout is the log's; how long connecting may take follows from it, as in etcd. Default 1 s.
	ElectionTimeout time.Duration
	// StallTimeout is how long a receiver may take nothing of a snapshot before its body is closed, and it counts as
	// failed: while that is open the sender's database can't use the space again of what it deletes. Default 30 s.
	StallTimeout time.Duration
	// Clock is what StallTimeout is measured by. Default: the machine's.
	Clock raftlog.Clock
}

// dialTimeout is etcd's: a second for the network and an election, in which a member may be slow.
func (o *Options) dialTimeout() time.Duration { return time.Second + o.ElectionTimeout }

func (o *Options) fill() error {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = time.Second
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 30 * time.Second
	}
	if o.Clock == nil {
		o.Clock = raftlog.SystemClock()
	}
	var faults []error
	if o.MemberID == 0 || o.ClusterID == 0 {
		faults = append(faults, fmt.Errorf("MemberID %x or ClusterID %x is 0", o.MemberID, o.ClusterID))
	}
	if o.SnapDir == "" {
		faults = append(faults, errors.New("SnapDir is empty"))
	}
	if o.ElectionTimeout < 0 {
		faults = append(faults, fmt.Errorf("ElectionTimeout %v is negative", o.ElectionTimeout))
	}
	if o.StallTimeout < 0 {
		faults = append(faults, fmt.Errorf("StallTimeout %v is negative", o.StallTimeout))
	}
	return errors.Join(faults...)
}

// Transport connects a member with the others. Between New and Start it notes which there are, and drops messages.
type Transport struct {
	opts     Options
	links    atomic.Pointer[links] // changed as state is
	receiver *receiver
	errors   chan error

	// Until ctx ends members are asked questions; sends are the snapshots before which that is done.
	ctx    context.Context
	cancel context.CancelFunc
	sends  sync.WaitGroup

	stop sync.Once

	// state changes under mu and is read without: who sends must not wait for a member to be disconnected.
	state atomic.Int32

	mu      sync.Mutex          // held by Start, Stop and changes of members
	peers   map[uint64][]string // of members, their URLs
	remotes map[uint64][]string // of those that are only to be caught up from
	// unfitTold is when it was logged that a member can't take snapshots.
	unfitTold map[uint64]time.Time
}

// States of a transport.
const (
	waiting int32 = iota
	running
	stopped
)

var _ raftlog.Transport = (*Transport)(nil)

// New returns a transport that is not connected yet. It removes what an earlier run has received and not used.
func New(opts Options) (*Transport, error) {
	if err := opts.fill(); err != nil {
		return nil, fmt.Errorf("peer options: %w", err)
	}
	if err := removeLeftovers(opts.SnapDir); err != nil {
		return nil, err
	}
	t := &Transport{
		opts:     opts,
		errors:   make(chan error, 1),
		receiver: newReceiver(&opts),
		peers:    make(map[uint64][]string),
		remotes:  make(map[uint64][]string),

		unfitTold: make(map[uint64]time.Time),
	}
	first, err := t.newLinks()
	if err != nil {
		return nil, err
	}
	t.links.Store(first)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// Start connects to the members, and gives to h what comes from them through Handler.
func (t *Transport) Start(h Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != waiting {
		return errors.New("peer: started twice")
	}
	l := t.links.Load()
	if err := l.Start(); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	t.receiver.start(h)
	t.state.Store(running)
	t.connect(l)
	return nil
}

// Handler serves /raft and what is below it.
func (t *Transport) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.links.Load().handler.ServeHTTP(w, r) })
}

// Errors tells of what this member must not go on after: that it was removed from the cluster.
func (t *Transport) Errors() <-chan error { return t.errors }

// Send implements raftlog.Transport.
func (t *Transport) Send(messages []*raftpb.Message) {
	if t.state.Load() == running {
		t.links.Load().Send(messages)
	}
}

// AddPeer connects to a member. A member that is known already keeps its URLs.
func (t *Transport) AddPeer(id uint64, urls []string) {
	t.change(id, urls, func() {
		if t.peers[id] != nil {
			return
		}
		t.peers[id] = urls
		if t.state.Load() == running {
			t.links.Load().AddPeer(types.ID(id), urls)
		}
	})
}

// AddRemote makes a member reachable that is not in this one's configuration yet: it may be what this member
// catches up from.
func (t *Transport) AddRemote(id uint64, urls []string) {
	t.change(id, urls, func() {
		t.remotes[id] = urls
		if t.state.Load() == running {
			t.links.Load().AddRemote(types.ID(id), urls)
		}
	})
}

// UpdatePeer gives a member other URLs.
func (t *Transport) UpdatePeer(id uint64, urls []string) {
	t.change(id, urls, func() {
		if t.peers[id] == nil {
			return
		}
		t.peers[id] = urls
		if t.state.Load() == running {
			t.links.Load().UpdatePeer(types.ID(id), urls)
		}
	})
}

// change changes who is connected. This member needs no connection; URLs that are none, which etcd's rules keep out
// of the membership, are not for rafthttp, which would end the process.
func (t *Transport) change(id uint64, urls []string, fn func()) {
	if id == t.opts.MemberID {
		return
	}
	if _, err := types.NewURLs(urls); err != nil {
		t.opts.Logger.Error("cannot connect to a member", zap.Stringer("remote-peer-id", types.ID(id)),
			zap.Strings("remote-peer-urls", urls), zap.Error(err))
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() != stopped {
		fn()
	}
}

// RemovePeer disconnects a member.
func (t *Transport) RemovePeer(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers[id] == nil || t.state.Load() == stopped {
		return
	}
	delete(t.peers, id)
	delete(t.unfitTold, id)
	if t.state.Load() == running {
		t.links.Load().RemovePeer(types.ID(id))
	}
}

// RemoveAllPeers disconnects all members.
func (t *Transport) RemoveAllPeers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() == running {
		t.links.Load().RemoveAllPeers()
	}
	clear(t.peers)
}

// ActiveSince is when the connection with a member became active, the zero time while it is not.
func (t *Transport) ActiveSince(id uint64) time.Time {
	if t.state.Load() != running {
		return time.Time{}
	}
	return t.links.Load().ActiveSince(types.ID(id))
}

// Stop disconnects all members. What is sent afterwards is dropped. It may be called again, and waits for the first call.
func (t *Transport) Stop() {
	t.stop.Do(func() {
		t.disconnect()
		t.receiver.stop()
		t.sends.Wait()
	})
}

func (t *Transport) disconnect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel()
	if t.state.Swap(stopped) == running {
		t.links.Load().Stop()
	}
}
