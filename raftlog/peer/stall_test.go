// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3"

	"keelson.io/keelson/raftlog"
)

// TestStalledSnapshot: a receiver that takes nothing more, or never answers, does not keep others from being sent theirs;
// and when it comes back to the first, that is not taken for the end of the next.
func TestStalledSnapshot(t *testing.T) {
	for name, readsAll := range map[string]bool{"takes nothing": false, "never answers": true} {
		t.Run(name, func(t *testing.T) {
			a, b := newMember(t, 1, cluster), &member{id: 2}
			a.transport.opts.StallTimeout = 50 * time.Millisecond
			a.start()
			came, answers, quit := make(chan struct{}), make(chan int), make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("/version", asKeelson)
			mux.HandleFunc("/raft/snapshot", func(w http.ResponseWriter, r *http.Request) {
				if readsAll {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						t.Error(err)
					}
				}
				var status int
				select {
				case came <- struct{}{}:
					select {
					case status = <-answers:
					case <-quit:
						return
					}
				case <-quit:
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); err != nil && status == http.StatusNoContent {
					t.Error(err)
				}
				w.WriteHeader(status)
			})
			server := httptest.NewServer(mux)
			defer server.Close()
			defer close(quit)
			a.transport.AddPeer(b.id, []string{server.URL})
			send := func() *closing {
				body := &closing{closed: make(chan struct{}), Reader: bytes.NewReader(make([]byte, 32<<20))}
				a.transport.SendSnapshot(snapshotMessage(a, b, 77), &raftlog.StateSnapshot{Size: 32 << 20, Body: body})
				receive(t, "snapshot", came)
				return body
			}
			body := send()
			if got := receive(t, "report of the first", a.snapshots); got != raft.SnapshotFailure {
				t.Errorf("the first is reported as %v", got)
			}
			receive(t, "end of the body", body.closed)
			a.transport.opts.StallTimeout = patient
			send()
			answers <- http.StatusInternalServerError // to the first, which has waited for longer
			select {
			case got := <-a.snapshots:
				t.Errorf("the end of the first is reported again: %v", got)
			case <-time.After(200 * time.Millisecond):
			}
			answers <- http.StatusNoContent
			if got := receive(t, "report of the second", a.snapshots); got != raft.SnapshotFinish {
				t.Errorf("the second is reported as %v", got)
			}
		})
	}
}

// TestSnapshotOfARemovedMember: whenever a member goes, what becomes of its snapshot is told once.
func TestSnapshotOfARemovedMember(t *testing.T) {
	a, b := newMember(t, 1, cluster), &member{id: 2}
	a.start()
	server := httptest.NewServer(http.HandlerFunc(asKeelson))
	defer server.Close()
	for range 50 {
		a.transport.AddPeer(b.id, []string{server.URL})
		a.transport.SendSnapshot(snapshotMessage(a, b, 5), &raftlog.StateSnapshot{Size: 1, Body: io.NopCloser(strings.NewReader("x"))})
		a.transport.RemovePeer(b.id)
		receive(t, "report of the snapshot", a.snapshots)
	}
	if len(a.snapshots) != 0 {
		t.Error("a snapshot is reported twice")
	}
}
