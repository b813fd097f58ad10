// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"keelson.io/keelson/test/e2e/promtext"
)

// reading is what the status line tells of the store.
type reading struct {
	revision, keys, bytes, watchers float64
}

// fetchReading asks the store's /metrics. The names are etcd's, so that they
// work with either store.
func fetchReading(ctx context.Context, storeURL string) (reading, error) {
	samples, err := promtext.Fetch(ctx, storeURL+"/metrics")
	if err != nil {
		return reading{}, err
	}
	return reading{
		revision: samples.Sum("etcd_debugging_mvcc_current_revision", nil),
		keys:     samples.Sum("etcd_debugging_mvcc_keys_total", nil),
		bytes:    samples.Sum("etcd_mvcc_db_total_size_in_bytes", nil),
		watchers: samples.Sum("etcd_debugging_mvcc_watcher_total", nil),
	}, nil
}

// streamStatus prints a line at each interval until ctx is done.
func streamStatus(ctx context.Context, storeURL string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last *reading
	for {
		now, err := fetchReading(ctx, storeURL)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			fmt.Println("status:", err)
		default:
			fmt.Println(statusLine(time.Now(), now, writesPerSecond(last, now, every)))
			last = &now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// writesPerSecond compares two readings that are elapsed apart: each write
// transaction is one revision. Without a last reading there is no rate.
func writesPerSecond(last *reading, now reading, elapsed time.Duration) string {
	if last == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", (now.revision-last.revision)/elapsed.Seconds())
}

func statusLine(at time.Time, r reading, rate string) string {
	return fmt.Sprintf("%s  revision %.0f  objects %.0f  db %.1f MiB  watchers %.0f  writes/s %s",
		at.Format(time.TimeOnly), r.revision, r.keys, r.bytes/(1<<20), r.watchers, rate)
}
