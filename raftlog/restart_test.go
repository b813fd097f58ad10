// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"keelson.io/keelson/raftlog/disk"
)

// smallSegments makes the log begin a new segment every few proposals. Logs of one test process share it.
func smallSegments(t *testing.T, bytes int64) {
	old := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = bytes
	t.Cleanup(func() { wal.SegmentSizeBytes = old })
}

func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		if strings.HasSuffix(f.Name(), suffix) {
			names = append(names, f.Name())
		}
	}
	return names
}

// copyDir copies a directory while somebody writes to it: what a kill leaves, more or less. Files that go away
// meanwhile are left out.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyRunning copies the directory of a log that is being written, as a kill would leave it. Files are copied one after
// the other, so when a segment was begun meanwhile it copies again: the copy would have the new one, and half of the one
// before.
func copyRunning(t *testing.T, from string) string {
	t.Helper()
	for {
		before := files(t, filepath.Join(from, "member", "wal"), ".wal")
		to := t.TempDir()
		copyDir(t, from, to)
		if slices.Equal(before, files(t, filepath.Join(from, "member", "wal"), ".wal")) {
			return to
		}
	}
}

// A state machine that is behind, by a little or by everything, is brought up by replay.
func TestReplay(t *testing.T) {
	dir, m := t.TempDir(), newMachine()
	l := mustOpen(t, soloOptions(dir), m)
	want := make(map[uint64]string)
	for id := uint64(1); id <= 10; id++ {
		want[id] = fmt.Sprint("value ", id)
		mustPropose(t, l, id, want[id])
		if id == 4 {
			if _, err := m.Persist(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	behind, empty := m.reopened(), newMachine()
	mustStop(t, l)
	for name, m := range map[string]*machine{"behind": behind, "empty": empty, "up to date": m.reopened()} {
		copied := t.TempDir()
		copyDir(t, dir, copied)
		l := mustOpen(t, soloOptions(copied), m)
		if err := l.ReadIndex(testContext(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m.has(t, want)
		mustPropose(t, l, 11, "more")
		mustStop(t, l)
	}
}

// A machine that is ahead of the log, and a log that doesn't reach back to the machine, are refused.
func TestMachineDoesNotFit(t *testing.T) {
	smallSegments(t, 2000)
	dir, m := t.TempDir(), newMachine()
	opts := soloOptions(dir)
	opts.SnapshotCount, opts.MaxWALs = 10, 1
	snapshots := make(chan SnapshotInfo, 100)
	opts.Events.SnapshotSaved = func(i SnapshotInfo) { snapshots <- i }
	l := mustOpen(t, opts, m)
	for id := uint64(1); id <= 50; id++ {
		mustPropose(t, l, id, string(make([]byte, 300)))
	}
	<-snapshots
	mustStop(t, l)

	ahead := m.reopened()
	ahead.index += 1000
	var aheadErr *StateAheadError
	if _, err := Open(opts, ahead); !errors.As(err, &aheadErr) || aheadErr.Applied != ahead.index {
		t.Errorf("a machine ahead of the log: %v", err)
	}
	var gap *disk.GapError
	if _, err := Open(opts, newMachine()); !errors.As(err, &gap) || gap.Applied != 0 || gap.First < 2 {
		t.Errorf("an empty machine on a log that begins later: %v", err)
	}
	l = mustOpen(t, opts, m.reopened())
	mustPropose(t, l, 51, "fits")
	mustStop(t, l)
}

// Snapshots let go of segments, and the log restarts from them. What they leave is what etcd reads.
func TestSnapshotsReleaseSegments(t *testing.T) {
	smallSegments(t, 4000)
	dir, m := t.TempDir(), newMachine()
	opts := soloOptions(dir)
	opts.SnapshotCount, opts.MaxWALs, opts.MaxSnapshots = 20, 2, 3
	opts.SnapshotCatchUpEntries, opts.SnapshotCatchUpBytes = 10, 3000
	var mu sync.Mutex
	var infos []SnapshotInfo
	opts.Events.SnapshotSaved = func(i SnapshotInfo) { mu.Lock(); infos = append(infos, i); mu.Unlock() }
	l := mustOpen(t, opts, m)
	want := make(map[uint64]string)
	// A snapshot that is due while another one is made is made after a later entry: proposals go on.
	released := func() bool {
		mu.Lock()
		made := len(infos)
		mu.Unlock()
		first, err := l.mem.FirstIndex()
		return made >= 5 && err == nil && l.Status().AppliedIndex-first <= 30
	}
	for id := uint64(1); id <= 300 || !released(); id++ {
		if id > 50_000 {
			t.Fatal("snapshots do not keep up")
		}
		want[id] = string(make([]byte, 200))
		mustPropose(t, l, id, want[id])
	}
	mustStop(t, l)
	walDir, snapDir := filepath.Join(dir, "member", "wal"), filepath.Join(dir, "member", "snap")
	segments := files(t, walDir, ".wal")
	if segments[0] == fmt.Sprintf("%016x-%016x.wal", 0, 0) {
		t.Errorf("the first segment is still there, of %d", len(segments))
	}
	if snaps := files(t, snapDir, ".snap"); len(snaps) != 3 {
		t.Errorf("%d snapshot files are kept, want 3", len(snaps))
	}
	for i, s := range infos {
		if s.Durable < s.Index || i > 0 && s.Index < infos[i-1].Index+20 {
			t.Errorf("snapshot %d: %+v after %+v", i, s, infos[max(0, i-1)])
		}
	}

	// As etcd 3.6 starts, and as 3.7 does.
	records, err := wal.ValidSnapshotEntries(zap.NewNop(), walDir)
	if err != nil || len(records) == 0 || records[len(records)-1].GetConfState().GetVoters()[0] != testMember {
		t.Fatalf("snapshot records: %v, %v", records, err)
	}
	s, err := snap.New(zap.NewNop(), snapDir).LoadNewestAvailable(records)
	if err != nil || s.GetMetadata().GetIndex() != infos[len(infos)-1].Index || string(s.GetData()) != `{"members":"here"}` {
		t.Errorf("newest snapshot: %v, %v", s.GetMetadata(), err)
	}

	m = m.reopened()
	l = mustOpen(t, opts, m)
	mustPropose(t, l, 1<<40, "after")
	want[1<<40] = "after"
	mustStop(t, l)
	m.has(t, want)
}

// Without a durable state machine nothing is let go.
func TestSnapshotNeedsDurability(t *testing.T) {
	smallSegments(t, 2000)
	dir, m := t.TempDir(), newMachine()
	m.lag = 1
	opts := soloOptions(dir)
	opts.SnapshotCount, opts.MaxWALs, opts.MaxSnapshots = 5, 1, 1
	failed := make(chan error, 1000)
	opts.Events.SnapshotFailed = func(err error) { failed <- err }
	l := mustOpen(t, opts, m)
	for id := uint64(1); id <= 60; id++ {
		mustPropose(t, l, id, string(make([]byte, 200)))
	}
	if err := <-failed; err == nil {
		t.Error("a snapshot failed without an error")
	}
	if err := l.Stop(testContext(t)); err == nil {
		t.Error("stop says that the machine is durable")
	}
	if got := files(t, filepath.Join(dir, "member", "wal"), ".wal"); got[0] != fmt.Sprintf("%016x-%016x.wal", 0, 0) {
		t.Errorf("segments were let go: the first is %s", got[0])
	}
	if got := files(t, filepath.Join(dir, "member", "snap"), ".snap"); len(got) != 0 {
		t.Errorf("snapshot files: %v", got)
	}
	m = m.reopened()
	l = mustOpen(t, opts, m)
	if err := l.ReadIndex(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if len(m.values) != 60 {
		t.Errorf("%d proposals after replay, want 60", len(m.values))
	}
	mustStop(t, l)
}

// A copy of the directory taken at any moment under load holds everything acknowledged before the copy began.
func TestKilledUnderLoad(t *testing.T) {
	smallSegments(t, 64<<10)
	dir, m := t.TempDir(), newMachine()
	opts := soloOptions(dir)
	opts.SnapshotCount = 1000
	l := mustOpen(t, opts, m)
	var mu sync.Mutex
	acked := make(map[uint64]string)
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() {
			for i := uint64(1); ctx.Err() == nil; i++ {
				id, value := uint64(client)<<32|i, strings.Repeat("x", int(i%500))
				if _, err := l.Propose(ctx, id, payload(id, value)); err == nil {
					mu.Lock()
					acked[id] = value
					mu.Unlock()
				}
			}
		})
	}
	for round := range 8 {
		eventually(t, "more is acknowledged", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > (round+1)*150 })
		if round%3 == 2 {
			if _, err := m.Persist(ctx); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		promised := make(map[uint64]string, len(acked))
		for id, v := range acked {
			promised[id] = v
		}
		mu.Unlock()
		copied, machine := copyRunning(t, dir), m.reopened()
		copyOpts := soloOptions(copied)
		after, err := Open(copyOpts, machine)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := after.ReadIndex(testContext(t)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		machine.mu.Lock()
		for id, v := range promised {
			if machine.values[id] != v {
				t.Errorf("round %d: %d proposals were acknowledged, %x is not to be read", round, len(promised), id)
				break
			}
		}
		machine.mu.Unlock()
		mustStop(t, after)
	}
	cancel()
	wg.Wait()
	mustStop(t, l)
}

// The commit index on disk lags. A read after a restart still waits for all that was acknowledged before.
func TestReadAfterCrash(t *testing.T) {
	for range 20 {
		dir, m := t.TempDir(), newMachine()
		l := mustOpen(t, soloOptions(dir), m)
		mustPropose(t, l, 1, "acknowledged")
		copied := t.TempDir()
		copyDir(t, dir, copied)
		mustStop(t, l)
		m = newMachine()
		l = mustOpen(t, soloOptions(copied), m)
		if err := l.ReadIndex(testContext(t)); err != nil {
			t.Fatal(err)
		}
		m.has(t, map[uint64]string{1: "acknowledged"})
		mustStop(t, l)
	}
}

func TestSecondOpenerRefused(t *testing.T) {
	dir := t.TempDir()
	opts := soloOptions(dir)
	l := mustOpen(t, opts, newMachine())
	if _, err := Open(opts, newMachine()); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second opener: %v, want %v naming %s", err, ErrHeld, dir)
	}
	mustPropose(t, l, 1, "still mine")
	mustStop(t, l)

	// An etcd takes no lock of the directory, only of the segments.
	walDir := filepath.Join(dir, "member", "wal")
	segments := files(t, walDir, ".wal")
	etcds, err := fileutil.TryLockFile(filepath.Join(walDir, segments[len(segments)-1]), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(opts, newMachine()); !errors.Is(err, ErrHeld) {
		t.Errorf("a log that an etcd has open: %v, want %v", err, ErrHeld)
	}
	if err := etcds.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, opts, newMachine())
	mustPropose(t, l, 2, "mine again")
	mustStop(t, l)
}

// What opens under another identity, or without what a new log needs, is refused before anything is written.
func TestOpenRefused(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, soloOptions(dir), newMachine())
	mustStop(t, l)
	other := soloOptions(dir)
	other.MemberID = 0xb2
	var identity *disk.IdentityError
	if _, err := Open(other, newMachine()); !errors.As(err, &identity) || identity.Got.MemberID != testMember {
		t.Errorf("another member: %v", err)
	}
	anybody := soloOptions(dir)
	anybody.MemberID, anybody.ClusterID, anybody.Peers = 0, 0, nil
	l = mustOpen(t, anybody, newMachine())
	if s := l.Status(); s.MemberID != testMember || s.ClusterID != testCluster {
		t.Errorf("identity %x of %x was not taken from the log", s.MemberID, s.ClusterID)
	}
	mustStop(t, l)

	empty := filepath.Join(t.TempDir(), "data")
	bad := Options{DataDir: empty, ElectionTicks: 1, MaxWALs: -2}
	_, err := Open(bad, newMachine())
	if err == nil || !strings.Contains(err.Error(), "ElectionTicks 1") || !strings.Contains(err.Error(), "MaxWALs -2") {
		t.Errorf("bad options: %v", err)
	}
	_, err = Open(Options{DataDir: empty}, newMachine())
	if err == nil || !strings.Contains(err.Error(), "MemberID is 0") || !strings.Contains(err.Error(), "ClusterID is 0") || !strings.Contains(err.Error(), "Peers") {
		t.Errorf("a new log of nobody: %v", err)
	}
	if _, err := os.Stat(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused open left something: %v", err)
	}
}

// A log whose founding entries were not saved when it crashed is founded again.
func TestFoundingCutShort(t *testing.T) {
	dir := t.TempDir()
	opts := soloOptions(dir)
	s := newTestStorage(dir)
	if _, err := s.Open(disk.Identity{MemberID: testMember, ClusterID: testCluster}, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m := newMachine()
	l := mustOpen(t, opts, m)
	mustPropose(t, l, 1, "founded")
	mustStop(t, l)
	if len(m.changes) != 1 || !slices.Equal(m.conf.GetVoters(), []uint64{testMember}) {
		t.Errorf("%d changes, voters %x", len(m.changes), m.conf.GetVoters())
	}
}
