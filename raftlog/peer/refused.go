// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net/http"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"keelson.io/keelson/raftlog"
)

// The pauses in which no snapshot is taken from a member whose last one was refused. A leader sends the next one within a
// heartbeat, all of it, and what is wrong with it seldom ends so soon: an etcd's stays an etcd's.
const (
	firstRefusalPause = time.Second
	maxRefusalPause   = time.Minute
)

// refused knows the last member whose snapshot was refused: there is one leader at a time.
type refused struct {
	clock raftlog.Clock

	mu    sync.Mutex
	from  uint64 // 0 if the last one was taken
	pause time.Duration
	until time.Time
}

// note notes that a snapshot of a member was refused, and returns for how long none is taken from it: twice the last
// time.
func (f *refused) note(from uint64) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.from == from {
		f.pause = min(2*f.pause, maxRefusalPause)
	} else {
		f.from, f.pause = from, firstRefusalPause
	}
	f.until = f.clock.Now().Add(f.pause)
	return f.pause
}

func (f *refused) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = 0
}

// waits says whether a member is to wait.
func (f *refused) waits(from uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.from != 0 && f.from == from && f.clock.Now().Before(f.until)
}

// admit answers a member that is to wait before it sends the content of its next snapshot.
func (r *receiver) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// One that does not say who it is was not noted either.
		from, err := types.IDFromString(req.Header.Get("X-Server-From"))
		if err == nil && r.refused.waits(uint64(from)) {
			http.Error(w, "the last snapshot of this member was refused; none is taken from it for a while", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, req)
	})
}
