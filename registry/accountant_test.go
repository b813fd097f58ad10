// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const web, job, tab = "/registry/pods/default/web", "/registry/jobs/default/job", "/registry/a.example.com/tabs/t"

func TestAccountant(t *testing.T) {
	a := NewAccountant(DefaultMaxResources)
	for _, w := range []Write{
		{Key: "/registry/pods/default/old", NewSize: 50, History: 5, Op: OpLoad},
		{Key: web, NewSize: 100, Op: OpPut},
		{Key: web, OldSize: 100, NewSize: 120, History: 100, Op: OpPut},
		{Key: job, NewSize: 30, Op: OpPut},
		{Key: job, OldSize: 30, History: 30 + 10, Op: OpDelete},
		{Key: job, History: -40, Op: OpCompact},
		{Key: web, OldSize: 120, NewSize: 120, History: -100, Op: OpCompact},
		{Key: tab, NewSize: 7, Op: OpPut},
		{Key: "compact_rev_key", NewSize: 3, Op: OpPut},
	} {
		a.Observe(w)
	}
	const want = `
# HELP keelson_registry_history_bytes Bytes of older revisions that are not compacted yet, by resource.
# TYPE keelson_registry_history_bytes gauge
keelson_registry_history_bytes{group="",resource="other"} 0
keelson_registry_history_bytes{group="",resource="pods"} 5
keelson_registry_history_bytes{group="a.example.com",resource="tabs"} 0
keelson_registry_history_bytes{group="batch",resource="jobs"} 0
# HELP keelson_registry_live_bytes Bytes of the newest revisions of the objects that exist, by resource.
# TYPE keelson_registry_live_bytes gauge
keelson_registry_live_bytes{group="",resource="other"} 3
keelson_registry_live_bytes{group="",resource="pods"} 170
keelson_registry_live_bytes{group="a.example.com",resource="tabs"} 7
keelson_registry_live_bytes{group="batch",resource="jobs"} 0
# HELP keelson_registry_objects Objects that exist, by resource.
# TYPE keelson_registry_objects gauge
keelson_registry_objects{group="",resource="other"} 1
keelson_registry_objects{group="",resource="pods"} 2
keelson_registry_objects{group="a.example.com",resource="tabs"} 1
keelson_registry_objects{group="batch",resource="jobs"} 0
# HELP keelson_registry_writes_total Writes applied since the start, by resource and operation.
# TYPE keelson_registry_writes_total counter
keelson_registry_writes_total{group="",op="create",resource="other"} 1
keelson_registry_writes_total{group="",op="create",resource="pods"} 1
keelson_registry_writes_total{group="",op="delete",resource="other"} 0
keelson_registry_writes_total{group="",op="delete",resource="pods"} 0
keelson_registry_writes_total{group="",op="update",resource="other"} 0
keelson_registry_writes_total{group="",op="update",resource="pods"} 1
keelson_registry_writes_total{group="a.example.com",op="create",resource="tabs"} 1
keelson_registry_writes_total{group="a.example.com",op="delete",resource="tabs"} 0
keelson_registry_writes_total{group="a.example.com",op="update",resource="tabs"} 0
keelson_registry_writes_total{group="batch",op="create",resource="jobs"} 1
keelson_registry_writes_total{group="batch",op="delete",resource="jobs"} 1
keelson_registry_writes_total{group="batch",op="update",resource="jobs"} 0
`
	if err := testutil.CollectAndCompare(a, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestAccountantReset(t *testing.T) {
	a := NewAccountant(DefaultMaxResources)
	a.Observe(Write{Key: web, NewSize: 100, History: 7, Op: OpPut})
	a.Reset()
	a.Observe(Write{Key: web, NewSize: 40, History: 1, Op: OpLoad})
	const want = `
# HELP keelson_registry_history_bytes Bytes of older revisions that are not compacted yet, by resource.
# TYPE keelson_registry_history_bytes gauge
keelson_registry_history_bytes{group="",resource="pods"} 1
# HELP keelson_registry_live_bytes Bytes of the newest revisions of the objects that exist, by resource.
# TYPE keelson_registry_live_bytes gauge
keelson_registry_live_bytes{group="",resource="pods"} 40
# HELP keelson_registry_objects Objects that exist, by resource.
# TYPE keelson_registry_objects gauge
keelson_registry_objects{group="",resource="pods"} 1
# HELP keelson_registry_writes_total Writes applied since the start, by resource and operation.
# TYPE keelson_registry_writes_total counter
keelson_registry_writes_total{group="",op="create",resource="pods"} 1
keelson_registry_writes_total{group="",op="delete",resource="pods"} 0
keelson_registry_writes_total{group="",op="update",resource="pods"} 0
`
	if err := testutil.CollectAndCompare(a, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestAccountantIsBounded(t *testing.T) {
	a := NewAccountant(2)
	for i := range 10 {
		a.Observe(Write{Key: fmt.Sprintf("/registry/g%d.example.com/things/t", i), NewSize: 1, Op: OpPut})
	}
	a.Observe(Write{Key: "/registry/g0.example.com/things/u", NewSize: 1, Op: OpPut})
	const want = `
# HELP keelson_registry_objects Objects that exist, by resource.
# TYPE keelson_registry_objects gauge
keelson_registry_objects{group="",resource="other"} 8
keelson_registry_objects{group="g0.example.com",resource="things"} 2
keelson_registry_objects{group="g1.example.com",resource="things"} 1
`
	if err := testutil.CollectAndCompare(a, strings.NewReader(want), "keelson_registry_objects"); err != nil {
		t.Error(err)
	}
}

func TestAccountantLeavesUnusedOut(t *testing.T) {
	a := NewAccountant(DefaultMaxResources)
	if n := testutil.CollectAndCount(a); n != 0 {
		t.Errorf("%d metrics of nothing", n)
	}
}

func TestAccountantKeepsNoKey(t *testing.T) {
	a := NewAccountant(DefaultMaxResources)
	key := []byte(tab)
	a.Observe(Write{Key: unsafe.String(&key[0], len(key)), NewSize: 1, Op: OpPut})
	for i := range key {
		key[i] = 'x'
	}
	a.Observe(Write{Key: tab, OldSize: 1, Op: OpDelete})
	const want = `
# HELP keelson_registry_objects Objects that exist, by resource.
# TYPE keelson_registry_objects gauge
keelson_registry_objects{group="a.example.com",resource="tabs"} 0
`
	if err := testutil.CollectAndCompare(a, strings.NewReader(want), "keelson_registry_objects"); err != nil {
		t.Error(err)
	}
}

// TestScrapeWhileObserving has the race detector watch a scrape during writes.
func TestScrapeWhileObserving(t *testing.T) {
	a := NewAccountant(100)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(a)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 5000 {
			a.Observe(Write{Key: fmt.Sprintf("/registry/g%d.example.com/things/t", i%150), NewSize: 1, Op: OpPut})
		}
	})
	for range 50 {
		if _, err := reg.Gather(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestObserveDoesNotAllocate(t *testing.T) {
	a := NewAccountant(DefaultMaxResources)
	w := Write{Key: web, OldSize: 100, NewSize: 120, History: 100, Op: OpPut}
	a.Observe(w)
	if n := testing.AllocsPerRun(100, func() { a.Observe(w) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	a := NewAccountant(DefaultMaxResources)
	w := Write{Key: web, OldSize: 100, NewSize: 120, History: 100, Op: OpPut}
	for b.Loop() {
		a.Observe(w)
	}
}
