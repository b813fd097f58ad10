// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"
)

// Kind is what a member's server is, which decides what snapshots it can take. A keelson takes an etcd's, too.
type Kind int

// The kinds.
const (
	Etcd    Kind = iota // takes a bbolt file, and stores whatever it gets in its place without a look
	Keelson             // takes a SQLite file, and makes one of a bbolt file
)

// KeelsonHeader is in every answer of a keelson's listener for members, and says which version it is. No etcd has it.
const KeelsonHeader = "X-Keelson-Version"

// versionPath is asked since every server has it and does nothing for it.
const versionPath = "/version"

const (
	// unfitPause is how long raft is not told that a snapshot was not sent to a member that can't take it: it asks for
	// the next one at once when it is told.
	unfitPause = 5 * time.Second
	// unfitLogInterval is the time between two lines about such a member.
	unfitLogInterval = time.Minute
)

var errUnfit = errors.New("peer: the receiver is an etcd, which can't take a SQLite file")

// Kind asks a member what it is. It may have changed since it was asked the last time: keelson starts on an etcd's data.
func (t *Transport) Kind(ctx context.Context, member uint64) (Kind, error) {
	t.mu.Lock()
	urls := t.peers[member]
	if urls == nil {
		urls = t.remotes[member]
	}
	t.mu.Unlock()
	err := errNotConnected
	for _, url := range urls {
		var kind Kind
		if kind, err = t.kindAt(ctx, url); err == nil {
			return kind, nil
		}
	}
	return Etcd, fmt.Errorf("peer: ask member %s what it is: %w", types.ID(member), err)
}

// kindAt asks at a URL, within the time that etcd gives to a connection and a request.
func (t *Transport) kindAt(ctx context.Context, url string) (Kind, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.dialTimeout())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+versionPath, nil)
	if err != nil {
		return Etcd, err
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return Etcd, err
	}
	// The header is all that is asked for.
	_ = resp.Body.Close()
	switch {
	case resp.Header.Get(KeelsonHeader) != "":
		return Keelson, nil
	case resp.StatusCode != http.StatusOK:
		return Etcd, fmt.Errorf("%s answers %s", r.URL, resp.Status)
	}
	return Etcd, nil
}

// mayTakeSnapshot returns nil if a member can take this one's snapshots.
func (t *Transport) mayTakeSnapshot(member uint64) error {
	kind, err := t.Kind(t.ctx, member)
	if err == nil && kind != Keelson {
		err = errUnfit
	}
	return err
}

// sayUnfit tells operators that a member stays behind, if they were not told in the last minute.
func (t *Transport) sayUnfit(member uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opts.Clock.Now()
	if told, ok := t.unfitTold[member]; ok && now.Sub(told) < unfitLogInterval {
		return
	}
	t.unfitTold[member] = now
	t.opts.Logger.Error("cannot send a snapshot: it is not known that the member can take it",
		zap.Stringer("remote-peer-id", types.ID(member)), zap.Error(err))
}
