// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// figure is a metric whose value is read from a layer's figures S.
type figure[S any] struct {
	name, help string
	kind       prometheus.ValueType
	value      func(S) float64
}

// collector exports figures that are read together, once a scrape.
type collector[S any] struct {
	read    func() S
	figures []figure[S]
	descs   []*prometheus.Desc
}

// register makes reg export figures. A nil reg exports nothing.
func register[S any](reg prometheus.Registerer, read func() S, figures []figure[S]) {
	if reg == nil {
		return
	}
	c := &collector[S]{read: read, figures: figures}
	for _, f := range figures {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, nil, nil))
	}
	reg.MustRegister(c)
}

// Describe sends the descriptions.
func (c *collector[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		ch <- desc
	}
}

// Collect reads the figures and sends them.
func (c *collector[S]) Collect(ch chan<- prometheus.Metric) {
	stats := c.read()
	for i, f := range c.figures {
		ch <- prometheus.MustNewConstMetric(c.descs[i], f.kind, f.value(stats))
	}
}

// truth is a condition's value as a gauge has it.
func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
