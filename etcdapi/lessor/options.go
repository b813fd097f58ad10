// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/zap"

	"keelson.io/keelson/metrics"
)

// Options of a Lessor. The zero value of a field stands for its default.
type Options struct {
	// Clock is read for deadlines and waited on. Default: the machine's.
	Clock clockwork.Clock
	// Logger takes failed revocations. Default: none.
	Logger *zap.Logger
	// Metrics count what happens to leases. Default: nobody sees them.
	Metrics *metrics.Leases
	// CheckpointInterval is the time between two records of a lease's remaining
	// time in the log; leases shorter than this are never recorded. Negative:
	// no checkpoints. Default: 5 minutes, as in etcd.
	CheckpointInterval time.Duration
	// RetryInterval is how long a proposed revocation may take before it is
	// proposed again. Default: 3 seconds.
	RetryInterval time.Duration
	// SweepInterval is the shortest time between two looks at the deadlines.
	// Default: 500 milliseconds.
	SweepInterval time.Duration
	// RevokeRate is the most leases that are revoked in a second. Default: 1000.
	RevokeRate int
	// MaxPending is the most revocations that are proposed at a time. Default: 16.
	MaxPending int
}

// checkpointBatch is the most leases in one checkpoint entry.
const checkpointBatch = 1000

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewLeases(nil)
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 5 * time.Minute
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = 3 * time.Second
	}
	if o.SweepInterval == 0 {
		o.SweepInterval = 500 * time.Millisecond
	}
	if o.RevokeRate == 0 {
		o.RevokeRate = 1000
	}
	if o.MaxPending == 0 {
		o.MaxPending = 16
	}
}

// validate reports all faults at once.
func (o *Options) validate() error {
	var faults []error
	if o.RetryInterval < 0 {
		faults = append(faults, fmt.Errorf("RetryInterval %v is negative", o.RetryInterval))
	}
	if o.SweepInterval < 0 {
		faults = append(faults, fmt.Errorf("SweepInterval %v is negative", o.SweepInterval))
	}
	if o.RevokeRate < 0 {
		faults = append(faults, fmt.Errorf("RevokeRate %d is negative", o.RevokeRate))
	}
	if o.MaxPending < 0 {
		faults = append(faults, fmt.Errorf("MaxPending %d is negative", o.MaxPending))
	}
	return errors.Join(faults...)
}

// sweepBudget is the most leases one sweep may find, so that sweeps at
// SweepInterval stay below RevokeRate.
func (o *Options) sweepBudget() int {
	return max(1, int(int64(o.RevokeRate)*int64(o.SweepInterval)/int64(time.Second)))
}
