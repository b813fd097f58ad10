// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keelson.io/keelson/test/harness"
)

// TestFeatureGateMetric wants the lines that etcd exports.
func TestFeatureGateMetric(t *testing.T) {
	lines := map[harness.Kind][]string{}
	for _, kind := range bothKinds {
		s := harness.Start(t, kind, harness.Options{Args: []string{"--feature-gates=CompactHashCheck=true,FastLeaseKeepAlive=false"}})
		resp, err := http.Get(s.URL() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "etcd_server_feature_enabled") {
				lines[kind] = append(lines[kind], line)
			}
		}
	}
	if want, got := lines[harness.Etcd], lines[harness.Keelson]; len(want) < 10 || !slices.Equal(want, got) {
		t.Errorf("keelson:\n%s\netcd:\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
}
