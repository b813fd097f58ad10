// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// factory makes metrics and registers them, unless it is given no registerer.
type factory struct{ auto promauto.Factory }

func newFactory(reg prometheus.Registerer) factory { return factory{promauto.With(reg)} }

func (f factory) counter(name, help string) prometheus.Counter {
	return f.auto.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return f.auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	return f.auto.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return f.auto.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func (f factory) gaugeFunc(name, help string, value func() float64) {
	f.auto.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return f.auto.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return f.auto.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// doubling returns n upper bounds in etcd's manner: first, and then each twice the one before.
func doubling(first float64, n int) []float64 {
	return prometheus.ExponentialBuckets(first, 2, n)
}
