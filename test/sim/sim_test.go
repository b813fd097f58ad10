// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"testing"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "the first seed")
	seedsFlag = flag.Uint64("seeds", 300, "how many seeds")
	traceFlag = flag.Bool("trace", false, "print every event")
)

func TestSeeds(t *testing.T) {
	for seed := *seedFlag; seed < *seedFlag+*seedsFlag; seed++ {
		o := Options{Seed: seed, Dir: t.TempDir()}
		if *traceFlag {
			o.Print = func(line string) { t.Log(line) }
		}
		r := Run(o)
		if r.Err != nil {
			t.Errorf("%s\n%v", r.Plan, r.Err)
			continue
		}
		t.Logf("%s: %x, %d entries, %d acked, %d events, %v", r.Plan, r.Hash, r.Entries, r.Acknowledged, r.Events, r.Virtual)
	}
}
