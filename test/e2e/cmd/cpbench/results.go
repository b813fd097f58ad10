// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"keelson.io/keelson/test/e2e/controlplane"
)

// results collects the samples of all rounds.
type results struct {
	stores  []controlplane.StoreKind
	samples map[controlplane.StoreKind]map[phase][]sample
}

func newResults(stores []controlplane.StoreKind) *results {
	r := &results{stores: stores, samples: make(map[controlplane.StoreKind]map[phase][]sample)}
	for _, kind := range stores {
		r.samples[kind] = make(map[phase][]sample)
	}
	return r
}

func (r *results) add(kind controlplane.StoreKind, round []sample) {
	for _, s := range round {
		r.samples[kind][s.phase] = append(r.samples[kind][s.phase], s)
	}
}

// markdown is the table of medians: a row for each phase and store, with the
// ratio of processor time to the first store's. kube-apiserver does the same work
// over each store: where its own figures differ, the machine was not quiet.
func (r *results) markdown(work workload) string {
	var b strings.Builder
	b.WriteString("| workload through kube-apiserver | store | store CPU s | ratio | kube-apiserver CPU s | wall s | RSS MiB |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, p := range []phase{phaseConfigMaps, phasePods, phaseIdle} {
		base := median(r.samples[r.stores[0]][p], cpuSeconds)
		for _, kind := range r.stores {
			samples := r.samples[kind][p]
			cpu := median(samples, cpuSeconds)
			fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f | %.2f | %.1f | %.0f |\n", work.name(p), kind, cpu, cpu/base,
				median(samples, func(s sample) float64 { return s.api.Seconds() }),
				median(samples, func(s sample) float64 { return s.wall.Seconds() }),
				median(samples, func(s sample) float64 { return float64(s.rss) / (1 << 20) }))
		}
	}
	return b.String()
}

func cpuSeconds(s sample) float64 { return s.cpu.Seconds() }

// median of one figure over the samples, of which there is at least one; the
// mean of the middle two when their number is even.
func median(samples []sample, figure func(sample) float64) float64 {
	figures := make([]float64, len(samples))
	for i, s := range samples {
		figures[i] = figure(s)
	}
	slices.Sort(figures)
	middle := len(figures) / 2
	if len(figures)%2 == 1 {
		return figures[middle]
	}
	return (figures[middle-1] + figures[middle]) / 2
}
