// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testMember  = 0xa1
	testCluster = 0xc1
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// soloOptions are those of a cluster of one in dir. Nothing here survives on syncing: a test's crash is of the
// process, not of the machine.
func soloOptions(dir string) Options {
	return Options{
		DataDir:       dir,
		MemberID:      testMember,
		ClusterID:     testCluster,
		Peers:         []raft.Peer{{ID: testMember, Context: []byte(`{"name":"solo"}`)}},
		MinFreeBytes:  1,
		UnsafeNoFsync: true,
	}
}

func mustOpen(t *testing.T, opts Options, sm StateMachine) *Log {
	t.Helper()
	l, err := Open(opts, sm)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

func mustStop(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Stop(testContext(t)); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

func mustPropose(t *testing.T, l *Log, id uint64, value string) {
	t.Helper()
	got, err := l.Propose(testContext(t), id, payload(id, value))
	if err != nil {
		t.Fatalf("propose %d: %v", id, err)
	}
	if got != value+"!" {
		t.Fatalf("propose %d gave %v, want %q", id, got, value+"!")
	}
}

func TestProposeAndRestart(t *testing.T) {
	dir, m := t.TempDir(), newMachine()
	l := mustOpen(t, soloOptions(dir), m)
	mustPropose(t, l, 1, "one")
	mustPropose(t, l, 2, "two")
	if err := l.ReadIndex(testContext(t)); err != nil {
		t.Fatal(err)
	}
	mustStop(t, l)
	m.has(t, map[uint64]string{1: "one", 2: "two"})

	m = m.reopened()
	l = mustOpen(t, soloOptions(dir), m)
	mustPropose(t, l, 3, "three")
	mustStop(t, l)
	m.has(t, map[uint64]string{1: "one", 2: "two", 3: "three"})
}
