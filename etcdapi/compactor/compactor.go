// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/zap"
)

// Options of a compactor. All are needed.
type Options struct {
	Clock     clockwork.Clock
	Logger    *zap.Logger
	Retention Retention
	// Revision is the store's.
	Revision func() int64
	// Leads says whether this member is to compact.
	Leads func() bool
	// Compact compacts the store up to a revision. It is no error if that has
	// happened before.
	Compact func(ctx context.Context, revision int64) error
}

// Run compacts until ctx ends. It returns at once if everything is to be kept.
func Run(ctx context.Context, opts Options) {
	switch {
	case opts.Retention.Period > 0:
		opts.keepPeriod(ctx)
	case opts.Retention.Revisions > 0:
		opts.keepRevisions(ctx)
	}
}

const (
	// maxInterval is the longest time between two compactions by time.
	maxInterval = time.Hour
	// retryDivisor is how often within such an interval the revision is noted, and
	// a compaction tried that has failed.
	retryDivisor = 10
	// revisionInterval is the time between two compactions by number.
	revisionInterval = 5 * time.Minute
)

// keepPeriod compacts up to the revision of a period ago, once a period but at
// least every hour.
func (o *Options) keepPeriod(ctx context.Context) {
	interval := min(o.Retention.Period, maxInterval)
	retry := interval / retryDivisor
	kept := int(o.Retention.Period/retry) + 1 // notes that reach back as long as the period
	fields := []zap.Field{zap.Duration("compact-period", o.Retention.Period)}
	var notes []int64
	compacted, done := int64(0), o.Clock.Now()
	for wait := o.Retention.Period; ; {
		if notes = append(notes, o.Revision()); len(notes) > kept {
			notes = notes[1:]
		}
		if !o.sleep(ctx, retry) {
			return
		}
		revision := notes[0]
		if !o.Leads() || o.Clock.Now().Sub(done) < wait || revision == compacted {
			continue
		}
		wait = interval
		if o.compact(ctx, Periodic, revision, append(fields, zap.Duration("retry-interval", retry))) {
			compacted, done = revision, o.Clock.Now()
		}
	}
}

// keepRevisions compacts all but the last revisions every five minutes.
func (o *Options) keepRevisions(ctx context.Context) {
	fields := []zap.Field{
		zap.Int64("revision-compaction-retention", o.Retention.Revisions), zap.Duration("retry-interval", revisionInterval),
	}
	for compacted := int64(0); o.sleep(ctx, revisionInterval); {
		if !o.Leads() {
			continue
		}
		revision := o.Revision() - o.Retention.Revisions
		if revision > 0 && revision != compacted && o.compact(ctx, Revision, revision, fields) {
			compacted = revision
		}
	}
}

// compact compacts and says whether that worked.
func (o *Options) compact(ctx context.Context, mode string, revision int64, fields []zap.Field) bool {
	logger := o.Logger.With(append(fields, zap.Int64("revision", revision))...)
	logger.Info("starting auto " + mode + " compaction")
	start := o.Clock.Now()
	if err := o.Compact(ctx, revision); err != nil {
		logger.Warn("failed auto "+mode+" compaction", zap.Error(err))
		return false
	}
	logger.Info("completed auto "+mode+" compaction", zap.Duration("took", o.Clock.Now().Sub(start)))
	return true
}

// sleep waits for d; false when ctx ends meanwhile.
func (o *Options) sleep(ctx context.Context, d time.Duration) bool {
	timer := o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return true
	case <-ctx.Done():
		return false
	}
}
