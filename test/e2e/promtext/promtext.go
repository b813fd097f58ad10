// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package promtext

import (
	"context"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxBytes bounds what is read of a server's answer.
const maxBytes = 64 << 20

// Samples are the metrics of one reading, by name.
type Samples map[string]*dto.MetricFamily

// Fetch reads url, e.g. http://127.0.0.1:2379/metrics.
func Fetch(ctx context.Context, url string) (Samples, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return Parse(resp.Body)
}

// Parse reads the text format.
func Parse(r io.Reader) (Samples, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(io.LimitReader(r, maxBytes))
}

// Sum adds up the counters and gauges called name whose labels include all of
// labels; 0 if there is none.
func (s Samples) Sum(name string, labels map[string]string) float64 {
	var sum float64
	for _, metric := range s[name].GetMetric() {
		if includes(metric.GetLabel(), labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
		}
	}
	return sum
}

func includes(pairs []*dto.LabelPair, want map[string]string) bool {
	found := 0
	for _, pair := range pairs {
		value, wanted := want[pair.GetName()]
		if wanted && value == pair.GetValue() {
			found++
		}
	}
	return found == len(want)
}
