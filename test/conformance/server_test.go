// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"testing"

	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"keelson.io/keelson/test/harness"
)

// serverNeeds says which process a case runs against.
type serverNeeds int

const (
	// anyServer is the process that all such cases share.
	anyServer serverNeeds = iota
	// ownServer is a process without a history, where the prefix of the keys is fixed by the suite.
	ownServer
	// withFrequentProgress is a process of its own that reports progress every second, not every ten minutes.
	withFrequentProgress
)

// serverKind is the server under test, from KEELSON_TEST_SERVER: keelson (the default) or etcd.
func serverKind(t *testing.T) harness.Kind {
	t.Helper()
	switch name := os.Getenv("KEELSON_TEST_SERVER"); name {
	case "", harness.Keelson.String():
		return harness.Keelson
	case harness.Etcd.String():
		return harness.Etcd
	default:
		t.Fatalf("KEELSON_TEST_SERVER is %q, want keelson or etcd", name)
		return 0
	}
}

// servers hands out processes to the cases of one table.
type servers struct {
	kind   harness.Kind
	shared *harness.Server
}

// startServers starts the shared process; it ends with t.
func startServers(t *testing.T) *servers {
	t.Helper()
	kind := serverKind(t)
	return &servers{kind: kind, shared: harness.Start(t, kind, harness.Options{})}
}

// endpoint is host:port of a process that has what a case needs.
func (s *servers) endpoint(t *testing.T, needs serverNeeds) string {
	t.Helper()
	switch needs {
	case ownServer:
		return harness.Start(t, s.kind, harness.Options{}).Endpoint()
	case withFrequentProgress:
		return harness.Start(t, s.kind, harness.Options{Args: []string{"--watch-progress-notify-interval=1s"}}).Endpoint()
	default:
		return s.shared.Endpoint()
	}
}

// apply sets feature gates until the test ends.
func (g gates) apply(t *testing.T) {
	t.Helper()
	for feature, enabled := range g {
		featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, feature, enabled)
	}
}

func rangeStreamEnabled() bool {
	return utilfeature.DefaultFeatureGate.Enabled(features.EtcdRangeStream)
}
