// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keelson.io/keelson/test/e2e/promtext"
)

// reading is what the status line tells of the store.
type reading struct {
	revision, keys, bytes, watchers float64
	leader                          string // empty in a store of one member
}

// fetchReading asks the members' /metrics for the state of the one that leads,
// and for the watchers of all. The names are etcd's, so that they work with
// either store.
func fetchReading(ctx context.Context, storeURLs []string) (reading, error) {
	var (
		found    *reading
		watchers float64
		errs     []error
	)
	for _, url := range storeURLs {
		samples, err := promtext.Fetch(ctx, url+"/metrics")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		watchers += samples.Sum("etcd_debugging_mvcc_watcher_total", nil)
		if samples.Sum("etcd_server_is_leader", nil) == 1 {
			found = stateOf(samples)
			if len(storeURLs) > 1 {
				found.leader = url
			}
		}
	}
	if found == nil {
		return reading{}, errors.Join(append(errs, errors.New("no member leads"))...)
	}
	found.watchers = watchers
	return *found, nil
}

func stateOf(samples promtext.Samples) *reading {
	return &reading{
		revision: samples.Sum("etcd_debugging_mvcc_current_revision", nil),
		keys:     samples.Sum("etcd_debugging_mvcc_keys_total", nil),
		bytes:    samples.Sum("etcd_mvcc_db_total_size_in_bytes", nil),
	}
}

// streamStatus prints a line at each interval until ctx is done.
func streamStatus(ctx context.Context, storeURLs []string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last *reading
	for {
		now, err := fetchReading(ctx, storeURLs)
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
	line := fmt.Sprintf("%s  revision %.0f  objects %.0f  db %.1f MiB  watchers %.0f  writes/s %s",
		at.Format(time.TimeOnly), r.revision, r.keys, r.bytes/(1<<20), r.watchers, rate)
	if r.leader != "" {
		line += "  leader " + r.leader
	}
	return line
}
