// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// printTable prints a line for each row and peer.
func printTable(out io.Writer, peers []*peer, rows []row, all results) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", machine())
	fmt.Fprintf(&b, "| workload | peer | result | against %s | p50 / p99 ms | server CPU us/op | written bytes/op | resident MB |\n",
		peers[0].name)
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		base := all[cell{r.name, peers[0].name}]
		for i, p := range peers {
			rounds := all[cell{r.name, p.name}]
			if len(rounds) == 0 {
				continue
			}
			title := r.title
			if i > 0 {
				title = ""
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n", title, p.name,
				figure(median(rounds, func(m measurement) float64 { return m.value })), r.unit,
				ratio(base, rounds),
				latencyOf(rounds),
				orDash(median(rounds, func(m measurement) float64 { return float64(m.cpu) / float64(time.Microsecond) })),
				orDash(median(rounds, func(m measurement) float64 { return m.writtenBytes })),
				orDash(median(rounds, func(m measurement) float64 { return float64(m.residentBytes) / 1e6 })))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// median returns the median of a figure over the rounds.
func median(rounds []measurement, figure func(measurement) float64) float64 {
	values := make([]float64, len(rounds))
	for i, m := range rounds {
		values[i] = figure(m)
	}
	return middle(values)
}

// middle returns the median of values, which it sorts.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// ratio returns the median of the rounds' ratios to the base's.
func ratio(base, rounds []measurement) string {
	var ratios []float64
	for i := range min(len(base), len(rounds)) {
		if base[i].value > 0 {
			ratios = append(ratios, rounds[i].value/base[i].value)
		}
	}
	if len(ratios) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", middle(ratios))
}

// latencyOf returns the medians of two percentiles.
func latencyOf(rounds []measurement) string {
	of := func(p func(measurement) time.Duration) float64 {
		return median(rounds, func(m measurement) float64 { return float64(p(m)) / float64(time.Millisecond) })
	}
	p50, p99 := of(func(m measurement) time.Duration { return m.p50 }), of(func(m measurement) time.Duration { return m.p99 })
	if p99 == 0 {
		return "-"
	}
	return figure(p50) + " / " + figure(p99)
}

// figure prints three digits that count, and all before the point.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func orDash(v float64) string {
	if v == 0 {
		return "-"
	}
	return figure(v)
}

// machine says on what was measured, as far as the system tells.
func machine() string {
	model := "unknown CPU"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %s, %d cores, %s", time.Now().Format(time.DateOnly), model, runtime.NumCPU(), runtime.Version())
}
