// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"net/http"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
)

// links are the connections with all members, made with one CA bundle: rafthttp reads it when it starts and not again.
type links struct {
	*rafthttp.Transport
	handler   http.Handler      // of what members send over theirs
	questions http.RoundTripper // of other questions to members
}

// newLinks returns links that are not started.
func (t *Transport) newLinks() (*links, error) {
	id := types.ID(t.opts.MemberID)
	questions, err := rafthttp.NewRoundTripper(t.opts.TLS, t.opts.dialTimeout())
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	l := &links{questions: questions, Transport: &rafthttp.Transport{
		Logger:      t.opts.Logger,
		TLSInfo:     t.opts.TLS,
		DialTimeout: t.opts.dialTimeout(),
		ID:          id,
		URLs:        t.opts.URLs,
		ClusterID:   types.ID(t.opts.ClusterID),
		Raft:        snapshotless{t.receiver},
		Snapshotter: snap.New(t.opts.Logger, t.opts.SnapDir),
		ServerStats: stats.NewServerStats(t.opts.Name, id.String()),
		LeaderStats: stats.NewLeaderStats(t.opts.Logger, id.String()),
		ErrorC:      t.errors,
	}}
	raft := l.Transport.Handler()
	mux := http.NewServeMux()
	mux.Handle("/", raft)
	mux.Handle(rafthttp.RaftSnapshotPrefix, t.receiver.admit(raft))
	l.handler = mux
	return l, nil
}

// connect makes the connections with the members that are known.
func (t *Transport) connect(l *links) {
	for id, urls := range t.remotes {
		l.AddRemote(types.ID(id), urls)
	}
	for id, urls := range t.peers {
		l.AddPeer(types.ID(id), urls)
	}
}

// Reconnect ends all connections with members and makes new ones, by the CA bundle of Options.TLS as it is now. What is
// sent meanwhile is lost, as it can be on any network. On an error nothing has changed.
func (t *Transport) Reconnect() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() == stopped {
		return nil
	}
	next, err := t.newLinks()
	if err != nil {
		return err
	}
	if t.state.Load() == waiting {
		t.links.Store(next)
		return nil
	}
	if err := next.Start(); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	last := t.links.Swap(next)
	last.Stop()
	if idle, ok := last.questions.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	t.connect(next)
	return nil
}

// RoundTrip implements http.RoundTripper, for other questions to members. It makes connections as rafthttp does its own.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.links.Load().questions.RoundTrip(r)
}
