// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// unit is what a row's value is counted in.
type unit string

const (
	perSecond    unit = "ops/s"
	milliseconds unit = "ms"
	megabytes    unit = "MB"
	bytesWritten unit = "bytes"
)

// row is a workload.
type row struct {
	name, title string
	unit        unit
	needs       ability
	// members of the cluster.
	members int
	// pods are in the store before. Rows of the same number that follow each other share a server, in
	// their order; a row that wants none has a server of its own.
	pods int
	run  func(ctx context.Context, s *server) (measurement, error)
}

// fewPods are enough where the store's size does not matter.
const fewPods = 1000

// allRows are the workloads of a table, in its order.
func allRows(cfg config) []row {
	var (
		d     = cfg.duration
		some  = thousands(cfg.pods)
		many  = thousands(cfg.manyPods)
		pods  = cfg.pods
		manyP = cfg.manyPods
	)
	return []row{
		{"put-1", "put, 1 client, 256 B", perSecond, keyValue, 1, 0, putLoad{1, 1, 256, d}.run},
		{"put-100", "put, 100 clients on 10 connections, 1 KiB", perSecond, keyValue, 1, 0, putLoad{100, 10, 1024, d}.run},
		{"put-1000", "put, 1000 clients on 100 connections, 256 B", perSecond, keyValue, 1, 0, putLoad{1000, 100, 256, d}.run},
		{"put-bytes", "bytes to disk for a put of 1 KiB, 100 clients", bytesWritten, keyValue, 1, 0, bytesOf(putLoad{100, 10, 1024, d}.run)},
		{"lease-update", "optimistic update of 1000 node Leases, 100 clients, 320 B", perSecond, keyValue, 1, 0, leaseUpdates(d)},
		{"put-3", "three members: put, 100 clients on 10 connections, 1 KiB", perSecond, clustering, 3, 0, putLoad{100, 10, 1024, d}.run},
		{"lease-update-3", "three members: optimistic update of 1000 node Leases, 100 clients", perSecond, clustering, 3, 0, leaseUpdates(d)},
		{"get-3", "three members: linearizable get, 100 clients", perSecond, clustering, 3, fewPods, getLoad{100, fewPods, d}.run},
		{"watch-latency", "watch latency p50, 1 watcher, 500 puts/s", milliseconds, watching, 1, 0, watchLoad{1, 500, d}.run},
		{"watch-fanout", "watch latency p50, 50 watchers, 200 puts/s", milliseconds, watching, 1, 0, watchLoad{50, 200, d}.run},

		{"get-1", "linearizable get, 1 client", perSecond, keyValue, 1, pods, getLoad{1, pods, d}.run},
		{"get-100", "linearizable get, 100 clients", perSecond, keyValue, 1, pods, getLoad{100, pods, d}.run},
		{"page", "list page of 500 x 1 KiB, " + some + " pods, 4 clients", perSecond, keyValue, 1, pods, pageLoad(d)},
		{"count", "count, " + some + " pods, 4 clients", perSecond, keyValue, 1, pods, countLoad(d)},
		{"list", "list all " + some + " pods in one answer, 1 client", perSecond, keyValue, 1, pods, listLoad(d)},

		{"start", "start to healthy, " + many + " pods", milliseconds, restarting, 1, manyP, startTime},
		{"start-memory", "resident memory after that start", megabytes, restarting, 1, manyP, startMemory},
		{"page-many", "list page of 500 x 1 KiB, " + many + " pods, 4 clients", perSecond, keyValue, 1, manyP, pageLoad(d)},
		{"count-many", "count, " + many + " pods, 4 clients", perSecond, keyValue, 1, manyP, countLoad(d)},
		{"defrag", "longest write during defragmentation, " + many + " pods", milliseconds, maintaining, 1, manyP, defragStall(d)},
	}
}

// thousands prints n with a comma before each three digits.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// startTime is the time that the server's start took.
func startTime(_ context.Context, s *server) (measurement, error) {
	return measurement{value: float64(s.startup) / float64(time.Millisecond)}, nil
}

// startMemory is the memory of a server that has started and not been asked anything since.
func startMemory(ctx context.Context, s *server) (measurement, error) {
	u, err := s.rest(ctx)
	return measurement{value: float64(u.residentBytes) / 1e6, residentBytes: u.residentBytes}, err
}

// bytesOf makes a row of the bytes that another one writes.
func bytesOf(run func(context.Context, *server) (measurement, error)) func(context.Context, *server) (measurement, error) {
	return func(ctx context.Context, s *server) (measurement, error) {
		m, err := run(ctx, s)
		return measurement{value: m.writtenBytes, writtenBytes: m.writtenBytes, residentBytes: m.residentBytes}, err
	}
}
