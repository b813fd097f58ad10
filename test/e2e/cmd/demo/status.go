// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"keelson.io/keelson/test/e2e/promtext"
)

// Metrics of the status line. The names are etcd's, so that they work with
// either store.
const (
	metricRevision = "etcd_debugging_mvcc_current_revision"
	metricKeys     = "etcd_debugging_mvcc_keys_total"
	metricSize     = "etcd_mvcc_db_total_size_in_bytes"
	metricWatchers = "etcd_debugging_mvcc_watcher_total"
)

// streamStatus prints a line at each interval until ctx is done.
func streamStatus(ctx context.Context, storeURL string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last promtext.Samples
	for {
		now, err := promtext.Fetch(ctx, storeURL+"/metrics")
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			fmt.Println("status:", err)
		default:
			fmt.Println(statusLine(time.Now(), last, now, every))
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// statusLine compares two readings that are elapsed apart; without a last one
// it tells no rate. Each write transaction is one revision.
func statusLine(at time.Time, last, now promtext.Samples, elapsed time.Duration) string {
	rate := "-"
	if last != nil {
		rate = fmt.Sprintf("%.1f", (now[metricRevision]-last[metricRevision])/elapsed.Seconds())
	}
	return fmt.Sprintf("%s  revision %.0f  objects %.0f  db %.1f MiB  watchers %.0f  writes/s %s",
		at.Format(time.TimeOnly), now[metricRevision], now[metricKeys], now[metricSize]/(1<<20), now[metricWatchers], rate)
}
