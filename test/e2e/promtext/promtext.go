// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package promtext reads the few numbers that the programs here want from a
// server's /metrics, in Prometheus' text format.
//
// Allowed imports: the standard library only.
package promtext

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Samples holds, by metric name, the sum over all of its label sets.
type Samples map[string]float64

// maxBytes bounds what is read of a server's answer.
const maxBytes = 16 << 20

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
	return Parse(io.LimitReader(resp.Body, maxBytes))
}

// Parse reads the text format. Comments and timestamps are skipped; a line that
// has no value is an error.
func Parse(r io.Reader) (Samples, error) {
	samples := make(Samples)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest := line, ""
		if i := strings.IndexAny(line, "{ \t"); i >= 0 {
			name, rest = line[:i], line[i:]
		}
		// A label's value may hold a brace, but no sample's value does.
		if i := strings.LastIndexByte(rest, '}'); i >= 0 {
			rest = rest[i+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return nil, fmt.Errorf("no value in line %q", line)
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		samples[name] += value
	}
	return samples, lines.Err()
}
