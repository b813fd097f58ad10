// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Leases are the metrics of leases.
type Leases struct {
	// Granted and Revoked count what was applied, Renewed the keep-alives that this member answered as
	// the leader, Expired the leases that it revoked because their time was up.
	Granted, Revoked, Renewed, Expired prometheus.Counter
	// TTL is that of the leases granted, in seconds.
	TTL prometheus.Histogram
}

// NewLeases registers the metrics of leases with reg.
func NewLeases(reg prometheus.Registerer) *Leases {
	f := newFactory(reg)
	return &Leases{
		Granted: f.counter("etcd_debugging_lease_granted_total", "Leases granted."),
		Revoked: f.counter("etcd_debugging_lease_revoked_total", "Leases revoked."),
		Renewed: f.counter("etcd_debugging_lease_renewed_total", "Leases kept alive through this leader."),
		Expired: f.counter("etcd_debugging_server_lease_expired_total", "Leases that this leader found expired."),
		TTL:     f.histogram("etcd_debugging_lease_ttl_total", "Time to live of granted leases, in seconds.", doubling(1, 24)),
	}
}
