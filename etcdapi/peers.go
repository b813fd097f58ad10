// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/peer"
	"keelson.io/keelson/sqlstore"
)

// Peers connects this member with the others; *peer.Transport is one. Its methods
// must not wait for a member, but for one.
type Peers interface {
	AddPeer(id uint64, urls []string)
	UpdatePeer(id uint64, urls []string)
	RemovePeer(id uint64)
	RemoveAllPeers()
	// ActiveSince is when the connection with a member became active, the zero time
	// while it is not.
	ActiveSince(id uint64) time.Time
	// Kind asks a member what its server is. It may wait for it, until ctx ends.
	Kind(ctx context.Context, id uint64) (peer.Kind, error)
}

// nobody is the Peers of a member that is connected with none.
type nobody struct{}

func (nobody) AddPeer(uint64, []string)     {}
func (nobody) UpdatePeer(uint64, []string)  {}
func (nobody) RemovePeer(uint64)            {}
func (nobody) RemoveAllPeers()              {}
func (nobody) ActiveSince(uint64) time.Time { return time.Time{} }
func (nobody) Kind(context.Context, uint64) (peer.Kind, error) {
	return peer.Keelson, nil
}

// neighbours follows the membership, as it is applied, with connections.
type neighbours struct {
	self    uint64
	peers   Peers
	logger  *zap.Logger
	removed atomic.Pointer[[]uint64] // in the order of their ids
	learner atomic.Bool              // this member has no vote

	once sync.Once
	gone chan struct{} // closed when this member was removed
}

func newNeighbours(logger *zap.Logger) *neighbours {
	n := &neighbours{peers: nobody{}, logger: logger, gone: make(chan struct{})}
	n.removed.Store(new([]uint64))
	return n
}

// connect makes the connections be those that the store's membership needs.
func (n *neighbours) connect(store *sqlstore.Store) {
	n.noteRemoved(store)
	n.noteVote(store)
	for _, m := range store.Members() {
		if m.ID != n.self {
			n.peers.AddPeer(m.ID, m.PeerURLs)
		}
	}
}

// noteRemoved keeps the removed members where every message from another member
// can be held against them.
func (n *neighbours) noteRemoved(store *sqlstore.Store) {
	removed := store.Removed()
	slices.Sort(removed)
	n.removed.Store(&removed)
	if n.isRemoved(n.self) {
		n.once.Do(func() { close(n.gone) })
	}
}

// noteVote keeps whether this member has a vote where every request can ask for it.
func (n *neighbours) noteVote(store *sqlstore.Store) {
	own, _ := store.Member(n.self)
	n.learner.Store(own.IsLearner)
}

func (n *neighbours) isRemoved(id uint64) bool {
	_, found := slices.BinarySearch(*n.removed.Load(), id)
	return found
}

// connectedSince says whether another member has been connected from before a
// time on.
func (n *neighbours) connectedSince(id uint64, since time.Time) bool {
	active := n.peers.ActiveSince(id)
	return !active.IsZero() && active.Before(since)
}

// follow connects as an applied change of membership wants it.
func (n *neighbours) follow(change raftlog.ConfChange, store *sqlstore.Store) {
	n.noteVote(store)
	for _, single := range change.Changes {
		id := single.GetNodeId()
		member, known := store.Member(id)
		fields := []zap.Field{
			zap.Stringer("local-member-id", types.ID(n.self)), zap.Stringer("member-id", types.ID(id)),
			zap.Strings("member-peer-urls", member.PeerURLs), zap.Bool("member-is-learner", member.IsLearner),
		}
		switch {
		case single.GetType() == raftpb.ConfChangeRemoveNode:
			n.noteRemoved(store)
			n.peers.RemovePeer(id)
			n.logger.Info("removed member", fields...)
		case !known:
		case single.GetType() == raftpb.ConfChangeUpdateNode:
			if id != n.self {
				n.peers.UpdatePeer(id, member.PeerURLs)
			}
			n.logger.Info("updated member", fields...)
		default:
			if id != n.self {
				n.peers.AddPeer(id, member.PeerURLs)
			}
			n.logger.Info("added member", fields...)
		}
	}
}
