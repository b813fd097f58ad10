// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// The environment sets what a run over many packages cannot set by flag.
var (
	opsFlag  = flag.Int("ops", envInt("KEELSON_MODEL_OPS"), "number of random operations; 0: 20000, or 3000 with -short")
	seedFlag = flag.Int("seed", envInt("KEELSON_MODEL_SEED"), "seed of the random operations; 0: from the clock")
	selfFlag = flag.Bool("self", false, "put a second etcd in keelson's place, to test the model")
)

func envInt(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return 0
	}
	return n
}

// firstRestart is the step at which the servers are killed first; they are
// again each time that the number of steps has doubled.
const firstRestart = 2500

// servers starts what is compared: an etcd, and a keelson if there is one.
func servers(t *testing.T) []*target {
	// A kill of the process loses nothing of what the kernel has.
	etcd := harness.Options{Args: []string{"--unsafe-no-fsync", "--log-level=error", "--watch-progress-notify-interval=200ms"}}
	targets := []*target{newTarget(t, "etcd", harness.Start(t, harness.Etcd, etcd))}
	if *selfFlag || !harness.HasKeelson() {
		return append(targets, newTarget(t, "etcd2", harness.Start(t, harness.Etcd, etcd)))
	}
	keelson := harness.Options{Args: []string{"--watch-progress-notify-interval=200ms"}}
	return append(targets, newTarget(t, "keelson", harness.Start(t, harness.Keelson, keelson)))
}

// One stream of random operations has the same answers from the model, etcd
// and keelson: responses, errors, events and hashes.
func TestRandomOperations(t *testing.T) {
	ops, seed := *opsFlag, uint64(*seedFlag)
	if ops == 0 {
		ops = 20000
		if testing.Short() {
			ops = 3000
		}
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano() % 1e9)
	}
	t.Logf("seed %d, %d operations", seed, ops)
	r := newRun(t, seed, servers(t))
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), store: r.store, streams: r.streams}
	nextRestart := firstRestart
	start := time.Now()
	for r.step < ops {
		op := g.next()
		// Not a share of the number of operations: a shorter run with the same
		// seed must be a prefix of a longer one.
		if r.step == nextRestart {
			op, nextRestart = restart{}, 2*nextRestart
		}
		r.do(op)
	}
	r.drainAll()
	r.compare(&pb.HashKVRequest{})
	t.Logf("%d operations and %d events in %v, revision %d\n%v", ops, r.events, time.Since(start).Round(time.Second), r.store.Revision(), r.tally)
}
