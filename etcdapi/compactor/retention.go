// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Modes of compaction.
const (
	Periodic = "periodic"
	Revision = "revision"
)

// Retention says what is kept. The zero value keeps everything.
type Retention struct {
	Period    time.Duration // the history of this long, if not 0
	Revisions int64         // else so many revisions, if not 0
}

// ParseRetention understands etcd's two flags, in which a number without a unit
// stands for hours or revisions. As in etcd, a duration in the mode of revisions
// is its number of nanoseconds.
func ParseRetention(mode, text string) (Retention, error) {
	switch mode {
	case Periodic, Revision:
	case "":
		return Retention{}, errors.New("undefined auto-compaction-mode")
	default:
		return Retention{}, fmt.Errorf("unknown auto-compaction-mode %q", mode)
	}
	if text == "" {
		return Retention{}, nil
	}
	amount, err := parseAmount(mode, text)
	switch {
	case err != nil:
		return Retention{}, err
	case amount < 0 || mode == Periodic && amount > 0 && amount < retryDivisor:
		// etcd takes these, and compacts without a pause or ends.
		return Retention{}, fmt.Errorf("--auto-compaction-retention=%s is too short", text)
	case mode == Revision:
		return Retention{Revisions: int64(amount)}, nil
	}
	return Retention{Period: amount}, nil
}

func parseAmount(mode, text string) (time.Duration, error) {
	number, err := strconv.Atoi(text)
	switch {
	case err != nil || number < 0:
		amount, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("error parsing CompactionRetention: %w", err)
		}
		return amount, nil
	case mode == Revision:
		return time.Duration(number), nil
	case number > int(math.MaxInt64/time.Hour):
		return 0, fmt.Errorf("--auto-compaction-retention=%s hours are too long", text)
	}
	return time.Duration(number) * time.Hour, nil
}
