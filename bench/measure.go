// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// measurement is what one round of a row on one peer gives. Figures that a row does not have are 0.
type measurement struct {
	value         float64 // in the row's unit
	p50, p99      time.Duration
	cpu           time.Duration // of the server, for an operation
	writtenBytes  float64       // by the server, for an operation
	residentBytes int64
}

// latency fills in the percentiles.
func (m *measurement) latency(l latencies) {
	m.p50, m.p99 = l.percentile(.50), l.percentile(.99)
}

// perOperation fills in what n operations cost the server.
func (m *measurement) perOperation(before, after usage, n int) {
	if n == 0 {
		return
	}
	m.cpu = (after.cpu - before.cpu) / time.Duration(n)
	m.writtenBytes = float64(after.writtenBytes-before.writtenBytes) / float64(n)
}

// cell names the measurements of a row on a peer.
type cell struct{ row, peer string }

// results are the measurements of each cell, by round.
type results map[cell][]measurement

// measurer runs rows on peers.
type measurer struct {
	cfg      config
	dir      string
	progress io.Writer
	results  results
}

// measure runs the rounds. Rows that want the same store in the same state share a server.
func (m *measurer) measure(ctx context.Context, peers []*peer, rows []row) error {
	for round := range m.cfg.rounds {
		for _, group := range groups(rows) {
			// Whoever comes first in one round comes last in the next, lest the order tell.
			order := slices.Concat(peers[round%len(peers):], peers[:round%len(peers)])
			for _, p := range order {
				if err := m.group(ctx, p, group, round); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
	}
	return nil
}

// groups cuts rows, in their order, where a new server is needed.
func groups(rows []row) [][]row {
	var all [][]row
	for i, r := range rows {
		if i > 0 && r.pods > 0 && r.pods == rows[i-1].pods && r.members == rows[i-1].members {
			all[len(all)-1] = append(all[len(all)-1], r)
		} else {
			all = append(all, []row{r})
		}
	}
	return all
}

// group measures rows that share a server, on p.
func (m *measurer) group(ctx context.Context, p *peer, rows []row, round int) error {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !p.can(r.needs) })
	if len(rows) == 0 {
		return nil
	}
	s, err := m.serverFor(ctx, p, rows[0])
	if err != nil {
		return err
	}
	for _, r := range rows {
		fmt.Fprintf(m.progress, "round %d: %s on %s\n", round+1, r.name, p.name)
		result, err := r.run(ctx, s)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", r.name, err), s.stop(), s.logTail())
		}
		m.results[cell{r.name, p.name}] = append(m.results[cell{r.name, p.name}], result)
	}
	return s.stop()
}

// serverFor starts p with the members and pods that r wants. What is loaded into a single member is kept
// for the next rounds, if the peer can start with it: the members of a cluster have new addresses each time.
func (m *measurer) serverFor(ctx context.Context, p *peer, r row) (*server, error) {
	data, pods := filepath.Join(m.dir, p.name+".data"), r.pods
	if pods == 0 || r.members > 1 || !p.can(restarting) {
		if err := os.RemoveAll(data); err != nil {
			return nil, err
		}
		s, err := startServer(ctx, p, data, r.members)
		if err != nil || pods == 0 {
			return s, err
		}
		if err := loadPods(ctx, s, pods); err != nil {
			return nil, errors.Join(err, s.stop())
		}
		return s, nil
	}
	loaded := filepath.Join(m.dir, fmt.Sprintf("%s.%d-pods", p.name, pods))
	if _, err := os.Stat(loaded); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(m.progress, "loading %d pods into %s\n", pods, p.name)
		if err := prepare(ctx, p, loaded, pods); err != nil {
			return nil, errors.Join(err, os.RemoveAll(loaded))
		}
	}
	if err := copyDir(loaded, data); err != nil {
		return nil, err
	}
	return startServer(ctx, p, data, r.members)
}

// prepare makes a data directory with pods in it.
func prepare(ctx context.Context, p *peer, dir string, pods int) error {
	s, err := startServer(ctx, p, dir, 1)
	if err != nil {
		return err
	}
	err = loadPods(ctx, s, pods)
	if err == nil {
		_, err = s.rest(ctx)
	}
	return errors.Join(err, s.stop())
}
