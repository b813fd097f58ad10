// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// fakeMember serves the metrics that the status line is made of.
func fakeMember(t *testing.T, leads int) string {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `# TYPE etcd_debugging_mvcc_current_revision gauge
etcd_debugging_mvcc_current_revision 1100
# TYPE etcd_debugging_mvcc_keys_total gauge
etcd_debugging_mvcc_keys_total 345
# TYPE etcd_mvcc_db_total_size_in_bytes gauge
etcd_mvcc_db_total_size_in_bytes 3.145728e+06
# TYPE etcd_debugging_mvcc_watcher_total gauge
etcd_debugging_mvcc_watcher_total 128
# TYPE etcd_server_is_leader gauge
etcd_server_is_leader %d
`, leads)
	}))
	t.Cleanup(store.Close)
	return store.URL
}

func TestStatusLine(t *testing.T) {
	now, err := fetchReading(t.Context(), []string{fakeMember(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 9, 30, 5, 0, time.UTC)
	for _, tc := range []struct {
		name string
		last *reading
		want string
	}{
		{"first", nil, "09:30:05  revision 1100  objects 345  db 3.0 MiB  watchers 128  writes/s -"},
		{"later", &reading{revision: 1000}, "09:30:05  revision 1100  objects 345  db 3.0 MiB  watchers 128  writes/s 20.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := statusLine(at, now, writesPerSecond(tc.last, now, 5*time.Second)); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestReadingOfSeveralMembers(t *testing.T) {
	follower, leader := fakeMember(t, 0), fakeMember(t, 1)
	gone := "http://127.0.0.1:1"
	got, err := fetchReading(t.Context(), []string{gone, follower, leader})
	if err != nil {
		t.Fatal(err)
	}
	want := reading{revision: 1100, keys: 345, bytes: 3 << 20, watchers: 256, leader: leader}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, err := fetchReading(t.Context(), []string{gone, follower}); err == nil {
		t.Errorf("without a leader: %+v", got)
	}
}
