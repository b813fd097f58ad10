// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// TestAutoCompaction wants a server that keeps the history of a second to compact
// what is older, and none that was not told to. What exactly is compacted when is
// compared with etcd's compactor beside ours.
func TestAutoCompaction(t *testing.T) {
	for _, kind := range []harness.Kind{harness.Etcd, challenger()} {
		for retention, compacts := range map[string]bool{"1s": true, "0": false} {
			t.Run(kind.String()+" "+retention, func(t *testing.T) {
				t.Parallel()
				server := harness.Start(t, kind, harness.Options{Args: []string{"--auto-compaction-retention=" + retention}})
				c := server.Client(t)
				ctx, cancel := context.WithTimeout(t.Context(), commandWithin)
				defer cancel()
				compacted := false
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && !compacted; <-time.After(50 * time.Millisecond) {
					if _, err := c.Put(ctx, "k", "v"); err != nil {
						t.Fatal(err)
					}
					_, err := c.Get(ctx, "k", clientv3.WithRev(2))
					if compacted = errors.Is(err, rpctypes.ErrCompacted); err != nil && !compacted {
						t.Fatal(err)
					}
				}
				if compacted != compacts {
					t.Errorf("compacted: %v", compacted)
				}
			})
		}
	}
}
