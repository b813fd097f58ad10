// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"keelson.io/keelson/test/e2e/promtext"
)

func TestStatusLine(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 30, 5, 0, time.UTC)
	now := promtext.Samples{metricRevision: 1100, metricKeys: 345, metricSize: 3 << 20, metricWatchers: 128}
	for _, tc := range []struct {
		name string
		last promtext.Samples
		want string
	}{
		{"first", nil, "09:30:05  revision 1100  objects 345  db 3.0 MiB  watchers 128  writes/s -"},
		{"later", promtext.Samples{metricRevision: 1000}, "09:30:05  revision 1100  objects 345  db 3.0 MiB  watchers 128  writes/s 20.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := statusLine(at, tc.last, now, 5*time.Second); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
