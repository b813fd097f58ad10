// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// NewFeatures registers the metric of feature gates with reg: 1 for those that are
// on, by name and stage.
func NewFeatures(reg prometheus.Registerer) *prometheus.GaugeVec {
	return newFactory(reg).gauges("etcd_server_feature_enabled", "Whether or not a feature is enabled. 1 is enabled, 0 is not.", "name", "stage")
}
