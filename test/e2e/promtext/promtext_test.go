// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package promtext

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       Samples
		wantErr    bool
	}{
		{name: "empty", text: "", want: Samples{}},
		{
			name: "labels add up",
			text: "# HELP puts_total puts\n# TYPE puts_total counter\nputs_total{range=\"a b\"} 2\nputs_total{range=\"}\"} 3.5\n",
			want: Samples{"puts_total": 5.5},
		},
		{name: "plain, exponent, timestamp", text: "up 1\nsize 2e+06 1700000000\n\n", want: Samples{"up": 1, "size": 2e6}},
		{name: "no value", text: "up\n", wantErr: true},
		{name: "no value behind labels", text: "up{a=\"1\"}\n", wantErr: true},
		{name: "not a number", text: "up yes\n", wantErr: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(tc.text))
			if (err != nil) != tc.wantErr {
				t.Fatalf("error %v, want one: %v", err, tc.wantErr)
			}
			if !tc.wantErr && !maps.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
