// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"testing"

	"github.com/jonboulle/clockwork"
	"go.uber.org/zap"
)

// TestHugeNumbers takes what etcd takes for no limit.
func TestHugeNumbers(t *testing.T) {
	const huge = "18446744073709551615"
	c, err := parse([]string{"--max-txn-ops=" + huge, "--max-wals=" + huge, "--max-snapshots=" + huge}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	opts := apiOptions(c, clockwork.NewFakeClock(), zap.NewNop())
	opts.SetDefaults()
	if err := opts.Validate(); err != nil {
		t.Error(err)
	}
	if keep(c.maxWALs) <= 0 || keep(c.maxSnapshots) <= 0 {
		t.Errorf("%d segments and %d snapshots are kept", keep(c.maxWALs), keep(c.maxSnapshots))
	}
}
