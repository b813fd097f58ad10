// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package promtext

import (
	"strings"
	"testing"
)

func TestSum(t *testing.T) {
	const text = `# HELP puts_total puts
# TYPE puts_total counter
puts_total{code="ok",verb="put"} 2
puts_total{code="ok",verb="del"} 3.5
puts_total{code="bad",verb="put"} 10
# TYPE size_bytes gauge
size_bytes 2e+06
plain 7 1700000000
`
	samples, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"puts_total", nil, 15.5},
		{"puts_total", map[string]string{"code": "ok"}, 5.5},
		{"puts_total", map[string]string{"code": "bad", "verb": "put"}, 10},
		{"puts_total", map[string]string{"code": "bad", "verb": "del"}, 0},
		{"puts_total", map[string]string{"color": "red"}, 0},
		{"size_bytes", nil, 2e6},
		{"plain", nil, 7},
		{"absent", nil, 0},
	} {
		if got := samples.Sum(tc.name, tc.labels); got != tc.want {
			t.Errorf("%s%v = %v, want %v", tc.name, tc.labels, got, tc.want)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, text := range []string{"up\n", "up yes\n", "up{a=\"1\"\n"} {
		if samples, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%q parsed as %v", text, samples)
		}
	}
}
