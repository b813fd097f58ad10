// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"reflect"
	"runtime"
	"strings"
	"testing"

	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
)

// TestStore runs the suite over kube-apiserver's etcd3 store.
func TestStore(t *testing.T) {
	pool := startServers(t)
	for _, c := range storeCases() {
		t.Run(caseName(c.suite, c.variant), func(t *testing.T) {
			c.gates.apply(t)
			freshFeatureChecker(t)
			var options storeOptions
			if c.options != nil {
				options = c.options()
			}
			c.run(newStoreEnv(t, pool.endpoint(t, c.server), options))
		})
	}
}

// TestCacher runs the suite over kube-apiserver's watch cache on top of the etcd3 store.
func TestCacher(t *testing.T) {
	pool := startServers(t)
	for _, c := range cacherCases() {
		t.Run(caseName(c.suite, c.variant), func(t *testing.T) {
			c.gates.apply(t)
			freshFeatureChecker(t)
			var options cacherOptions
			if c.options != nil {
				options = c.options(t)
			}
			c.run(newCacherEnv(t, pool.endpoint(t, c.server), options))
		})
	}
}

// freshFeatureChecker makes the store find out anew what its server can do. Without it, one server's
// Unimplemented would turn RangeStream off for all tests that follow.
func freshFeatureChecker(t *testing.T) {
	t.Helper()
	previous := etcdfeature.DefaultFeatureSupportChecker
	etcdfeature.DefaultFeatureSupportChecker = etcdfeature.NewDefaultFeatureSupportChecker()
	t.Cleanup(func() { etcdfeature.DefaultFeatureSupportChecker = previous })
}

// suiteName is the name of a function of the suite.
func suiteName(suite any) string {
	full := runtime.FuncForPC(reflect.ValueOf(suite).Pointer()).Name()
	return full[strings.LastIndex(full, ".")+1:]
}

// caseName is the name of the subtest of a case.
func caseName(suite any, variant string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(suiteName(suite), "Run"), "Test")
	if variant == "" {
		return name
	}
	return name + "/" + variant
}
