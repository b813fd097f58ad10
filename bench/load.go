// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// operation is one request of caller i. rng is the caller's own.
type operation func(ctx context.Context, i int, rng *rand.Rand) error

// latencies are durations in no order until percentile is asked.
type latencies []time.Duration

// percentile returns the least latency that p of all, between 0 and 1, do not exceed; 0 for none.
func (l latencies) percentile(p float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[max(int(math.Ceil(p*float64(len(l))))-1, 0)]
}

// load is what callers do, one operation after the other each.
type load struct {
	callers  int
	duration time.Duration
	op       operation
}

const (
	// warmUpPart of the duration is spent before measuring, at least minWarmUp.
	warmUpPart = 5
	minWarmUp  = 100 * time.Millisecond
	// operationTimeout fails an operation that is not answered.
	operationTimeout = 30 * time.Second
)

// outcome is a load's.
type outcome struct {
	latencies latencies
	elapsed   time.Duration
}

// run runs the load and returns each operation's latency. The first error ends it.
func (l load) run(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.duration+operationTimeout)
	defer cancel()
	var (
		wg      sync.WaitGroup
		over    atomic.Bool
		each    = make([]latencies, l.callers)
		errs    = make([]error, l.callers)
		began   = time.Now()
		timeout = time.AfterFunc(l.duration, func() { over.Store(true) })
	)
	defer timeout.Stop()
	for i := range l.callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(l.callers)))
			for !over.Load() {
				start := time.Now()
				if err := l.op(ctx, i, rng); err != nil {
					errs[i] = fmt.Errorf("caller %d: %w", i, err)
					over.Store(true)
					cancel()
					return
				}
				each[i] = append(each[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	out := outcome{elapsed: time.Since(began)}
	for i := range each {
		out.latencies = append(out.latencies, each[i]...)
	}
	return out, firstCause(errs)
}

// firstCause returns an error that is not the echo of another's cancellation, if there is one.
func firstCause(errs []error) error {
	var echo error
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled) || isCanceled(err):
			echo = err
		default:
			return err
		}
	}
	return echo
}

// measure warms up, runs the load on s and returns rate, latency and what the server used.
func (l load) measure(ctx context.Context, s *server) (measurement, error) {
	warmUp := l
	warmUp.duration = max(l.duration/warmUpPart, minWarmUp)
	if _, err := warmUp.run(ctx); err != nil {
		return measurement{}, err
	}
	before, err := s.usage()
	if err != nil {
		return measurement{}, err
	}
	out, err := l.run(ctx)
	if err != nil {
		return measurement{}, err
	}
	after, err := s.rest(ctx)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{
		value:         float64(len(out.latencies)) / out.elapsed.Seconds(),
		residentBytes: after.residentBytes,
	}
	m.latency(out.latencies)
	m.perOperation(before, after, len(out.latencies))
	return m, nil
}
