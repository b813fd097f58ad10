// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"math"
	"os"
)

// NewestSnapshot returns the index of the newest snapshot that the log in walDir records and has committed; false
// if there is none, or no log. If that snapshot came from another member, a crash may have come before the state
// machine was restored from it; that must be finished before Open. It changes nothing and is called by whoever
// holds the directory, before Open. A torn end is passed over as Open would cut it off. Errors: *CorruptError and
// those of reading.
func NewestSnapshot(walDir string) (index uint64, ok bool, err error) {
	all, err := segments(walDir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(all) == 0 {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	s, err := scan(all, math.MaxUint64)
	if err != nil {
		return 0, false, err
	}
	return s.start.GetIndex(), s.start.GetIndex() > 0, nil
}
