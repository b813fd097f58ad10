// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRows runs every row on every peer, small and short. It asserts that everything was measured and
// that every operation succeeded, and nothing about how fast.
func TestRows(t *testing.T) {
	dir := t.TempDir()
	cfg, err := parse([]string{"-rounds=1", "-duration=100ms", "-pods=600", "-many-pods=1200", "-dir=" + dir}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := run(t.Context(), cfg, &table, testWriter{t}); err != nil {
		t.Fatal(err)
	}
	for _, p := range knownPeers() {
		measured := strings.Count(table.String(), "| "+p.name+" |")
		wanted := 0
		for _, r := range allRows(cfg) {
			if p.can(r.needs) {
				wanted++
			}
		}
		if measured != wanted {
			t.Errorf("%s: %d rows, want %d", p.name, measured, wanted)
		}
	}
	for line := range strings.Lines(table.String()) {
		if strings.Contains(line, "| 0.00 ") || strings.Contains(line, "NaN") {
			t.Errorf("a result of nothing: %s", line)
		}
	}
	if t.Failed() {
		t.Log(table.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// testWriter logs what is written to it.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"-rows=("}, {"-rounds=0"}, {"-duration=0s"}, {"-pods=-1"}, {"surplus"}, {"-unknown"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"no row is called":  {"-rows=nothing"},
		"no peer is called": {"-peers=nobody"},
	} {
		cfg, err := parse(append(args, "-dir="+t.TempDir()), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), cfg, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestPercentile(t *testing.T) {
	var all latencies
	for i := range 100 {
		all = append(all, time.Duration(i+1))
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for p, want := range map[float64]time.Duration{0: 1, .5: 50, .99: 99, 1: 100} {
		if got := all.percentile(p); got != want {
			t.Errorf("percentile %v: %d, want %d", p, got, want)
		}
	}
	if got := (latencies)(nil).percentile(.5); got != 0 {
		t.Errorf("percentile of nothing: %d", got)
	}
}

func TestRatioIsThatOfRounds(t *testing.T) {
	base := []measurement{{value: 100}, {value: 10}, {value: 1000}}
	rounds := []measurement{{value: 200}, {value: 30}, {value: 1000}}
	if got := ratio(base, rounds); got != "2.00x" {
		t.Errorf("ratio %s", got)
	}
	if got := ratio(nil, rounds); got != "-" {
		t.Errorf("ratio to nothing %s", got)
	}
}

func TestGroups(t *testing.T) {
	var sizes []int
	for _, g := range groups([]row{{pods: 0}, {pods: 0}, {pods: 5}, {pods: 5}, {pods: 7}, {pods: 5}}) {
		sizes = append(sizes, len(g))
	}
	if got := len(sizes); got != 5 || sizes[2] != 2 {
		t.Errorf("groups of %v", sizes)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 20_000: "20,000", 1_002_003: "1,002,003"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
