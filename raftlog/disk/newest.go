// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"os"

	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
)

// NewestSnapshot returns the index of the newest snapshot that the log in walDir records and has committed; false
// if there is none, or no log. It changes nothing and may be called before Open, by whoever holds the directory.
// A torn end of the log is passed over as Open would cut it off.
func NewestSnapshot(walDir, snapDir string) (index uint64, ok bool, err error) {
	all, err := segments(walDir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var newest *walpb.Snapshot
	var next *segmentScan
	for i := len(all) - 1; i >= 0; i-- {
		s, _, err := checkSegment(all[i].path, next)
		if err != nil {
			return 0, false, err
		}
		if newest = newestSnapshot(s.snapshots, ^uint64(0)); newest != nil {
			return newest.GetIndex(), newest.GetIndex() > 0, nil
		}
		next = s
	}
	return 0, false, nil
}
