// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// TLS are the metrics of certificates.
type TLS struct {
	// Expiry is when what a file holds ends: the first of its certificates to do
	// so. Labels: the flag that names the file, without dashes, and its path.
	Expiry *prometheus.GaugeVec
}

// NewTLS registers the metrics of certificates with reg.
func NewTLS(reg prometheus.Registerer) *TLS {
	f := newFactory(reg)
	return &TLS{Expiry: f.gauges("keelson_tls_certificate_expiry_timestamp_seconds",
		"When the first certificate of a file that is in use expires, in seconds since 1970.", "use", "file")}
}
