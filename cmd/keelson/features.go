// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"maps"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"

	"keelson.io/keelson/metrics"
)

// withoutEffect are etcd's gates whose state changes nothing in keelson, with the
// reason. docs/compatibility.md has them, too.
var withoutEffect = map[featuregate.Feature]string{
	features.StopGRPCServiceOnDefrag:      "defragmentation stops nobody",
	features.InitialCorruptCheck:          "the check is always on",
	features.CompactHashCheck:             "the check is always on",
	features.TxnModeWriteWithSharedBuffer: "there is no bbolt",
	features.LeaseCheckpoint:              "checkpoints are always on",
	features.LeaseCheckpointPersist:       "checkpoints are always kept",
	features.FastLeaseKeepAlive:           "renewals never wait for entries of others",
	features.PriorityRequest:              "revocations of leases wait as all writes do",
}

// gates are etcd's feature gates, with its defaults.
type gates struct{ featuregate.MutableFeatureGate }

// value is where --feature-gates goes.
func (g *gates) value() flag.Value {
	// The interface says less than etcd's constructor gives, and than a caller needs.
	g.MutableFeatureGate = features.NewDefaultServerFeatureGate(defaultName, nil).(featuregate.MutableFeatureGate)
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	g.AddFlag(fs, "gates")
	return fs.Lookup("gates").Value
}

// check refuses gates that can't be open together, and warns of those that were
// moved and move nothing.
func (g *gates) check(c *config) error {
	if g.Enabled(features.LeaseCheckpointPersist) && !g.Enabled(features.LeaseCheckpoint) {
		return errors.New("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")
	}
	defaults := g.GetAll()
	for _, name := range slices.Sorted(maps.Keys(withoutEffect)) {
		if g.Enabled(name) != defaults[name].Default {
			c.warn("feature gate has no meaning in keelson and is ignored", zap.String("feature-gate", string(name)),
				zap.String("reason", withoutEffect[name]))
		}
	}
	return nil
}

// export shows the gates as etcd's metric does.
func (g *gates) export(reg prometheus.Registerer) {
	enabled := metrics.NewFeatures(reg)
	for name, spec := range g.GetAll() {
		state := 0.0
		if g.Enabled(name) {
			state = 1
		}
		enabled.WithLabelValues(string(name), string(spec.PreRelease)).Set(state)
	}
}

// peerAddress is the address that connections to other members come from, if that
// is asked for (SetMemberLocalAddr): the first one that others are told and that
// is not this machine's own loopback. Empty: the system's choice.
func (c *config) peerAddress() string {
	if !c.gates.Enabled(features.SetMemberLocalAddr) {
		return ""
	}
	for _, u := range c.initialAdvertisePeerURLs {
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !addr.IsLoopback() && !addr.IsUnspecified() {
			c.note("setting member local address", zap.String("LocalAddr", addr.String()))
			return addr.String()
		}
	}
	c.warn("unable to set a member local address due to lack of suitable local addresses",
		zap.Strings("advertise-peer-urls", c.initialAdvertisePeerURLs.StringSlice()))
	return ""
}
