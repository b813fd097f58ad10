// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keelson.io/keelson/raftlog/disk"
)

// A save that fails for want of space is tried again until it works; meanwhile proposals are refused, reads go
// on, and nothing of it is acknowledged.
func TestSaveRetried(t *testing.T) {
	var mu sync.Mutex
	var failing, recovered int
	l, s, m := openGated(t, func(o *Options) {
		o.Events.DiskFailing = func(error) { mu.Lock(); failing++; mu.Unlock() }
		o.Events.DiskRecovered = func(time.Duration) { mu.Lock(); recovered++; mu.Unlock() }
	})
	close(s.gate)
	full := fmt.Errorf("test: %w: %w", disk.ErrNotSaved, syscall.ENOSPC)
	attempts := 0
	s.set(func() {
		s.fault = func() error { mu.Lock(); attempts++; mu.Unlock(); return full }
	})
	ctx := testContext(t)
	var wg sync.WaitGroup
	for id := uint64(1); id <= 3; id++ {
		wg.Go(func() {
			got, err := l.Propose(ctx, id, payload(id, "kept"))
			if errors.Is(err, ErrNoSpace) {
				return // it came too late to be accepted
			}
			if err != nil || got != "kept!" {
				t.Errorf("propose %d: %v, %v", id, got, err)
			}
		})
	}
	eventually(t, "several attempts are made", func() bool { mu.Lock(); defer mu.Unlock(); return attempts >= 4 })
	if _, err := l.Propose(ctx, 4, payload(4, "refused")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("propose on a full disk: %v, want %v", err, ErrNoSpace)
	}
	if err := l.ReadIndex(ctx); err != nil {
		t.Errorf("read on a full disk: %v", err)
	}
	if st := l.Status(); !st.NoSpace || st.Err != nil || len(m.values) != 0 {
		t.Errorf("on a full disk: %+v, %d applied", st, len(m.values))
	}
	s.set(func() { s.fault = nil })
	wg.Wait()
	mustPropose(t, l, 5, "accepted again")
	mustStop(t, l)
	if failing != 1 || recovered != 1 {
		t.Errorf("told %d failures and %d recoveries, want one each", failing, recovered)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[1]+m.values[2]+m.values[3] == "" || m.values[4] != "" || m.values[5] == "" {
		t.Errorf("applied: %v", m.values)
	}
}

// A failure that cannot pass ends the log: what was proposed is not acknowledged, and everybody is told.
func TestSaveFailsForGood(t *testing.T) {
	l, s, m := openGated(t, nil)
	cause := errors.New("test: the sync failed")
	ctx := testContext(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Propose(ctx, 1, payload(1, "lost")); !errors.Is(err, ErrStopped) {
			t.Errorf("propose: %v, want %v", err, ErrStopped)
		}
	})
	eventually(t, "it is on its way", func() bool { return l.props.pending() == 1 })
	s.set(func() { s.fault = func() error { return cause } })
	close(s.gate)
	wg.Wait()
	<-l.Done()
	if !errors.Is(l.Status().Err, cause) {
		t.Errorf("status has %v, want %v", l.Status().Err, cause)
	}
	if err := l.ReadIndex(ctx); !errors.Is(err, ErrStopped) {
		t.Errorf("read: %v, want %v", err, ErrStopped)
	}
	if len(m.values) != 0 {
		t.Errorf("applied: %v", m.values)
	}
	if err := l.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// The same when it is a snapshot's record that cannot be written; but what fails without touching the log is only told.
func TestSnapshotFailsForGood(t *testing.T) {
	var told atomic.Pointer[error]
	l, s, _ := openGated(t, func(o *Options) {
		o.SnapshotCount = 1
		o.Events.SnapshotFailed = func(err error) { told.Store(&err) }
	})
	close(s.gate)
	final := errors.New("test: the sync failed")
	id := uint64(0)
	for _, fault := range []error{disk.ErrNotSaved, disk.ErrNotPurged, final} {
		s.set(func() { s.snapshotFault = fmt.Errorf("test: %w", fault) })
		// One that is being made keeps the next from being begun.
		eventually(t, "a snapshot fails", func() bool {
			if err := told.Load(); err != nil && errors.Is(*err, fault) {
				return true
			}
			id++
			if _, err := l.Propose(testContext(t), id, payload(id, "kept")); err != nil && fault != final {
				t.Fatalf("after %v: %v", fault, err)
			}
			return false
		})
	}
	select {
	case <-l.Done():
	case <-time.After(10 * time.Second):
		t.Error("the log goes on")
	}
	if err := l.Status().Err; !errors.Is(err, final) {
		t.Errorf("status has %v, want %v", err, final)
	}
	if err := l.Stop(testContext(t)); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A log that is stopped while its disk fails stops, and its proposers are told.
func TestStopWhileRetrying(t *testing.T) {
	l, s, _ := openGated(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Propose(testContext(t), 1, payload(1, "unknown")); !errors.Is(err, ErrStopped) {
			t.Errorf("propose: %v, want %v", err, ErrStopped)
		}
	})
	eventually(t, "it is on its way", func() bool { return l.props.pending() == 1 })
	s.set(func() { s.fault = func() error { return disk.ErrNotSaved } })
	close(s.gate)
	eventually(t, "the disk fails", func() bool { return l.Status().NoSpace })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := l.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v, want what was left undone", err)
	}
	wg.Wait()
}

// The reserve is asked for once a second, by the clock.
func TestReserve(t *testing.T) {
	clock := newManualClock()
	l, s, _ := openGated(t, func(o *Options) { o.Clock, o.MinFreeBytes = clock, 1000 })
	close(s.gate)
	mustPropose(t, l, 1, "accepted")
	s.set(func() { s.free = 999 })
	clock.advance(spaceCheckInterval)
	if _, err := l.Propose(testContext(t), 2, payload(2, "refused")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("propose below the reserve: %v, want %v", err, ErrNoSpace)
	}
	s.set(func() { s.free = 1000 })
	if _, err := l.Propose(testContext(t), 3, payload(3, "refused")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("propose before the next check: %v, want %v", err, ErrNoSpace)
	}
	clock.advance(spaceCheckInterval)
	mustPropose(t, l, 4, "accepted again")
	stopped := make(chan error)
	go func() { stopped <- l.Stop(testContext(t)) }()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			clock.advance(drainPollInterval)
		}
	}
}

// The same on a real file system that is really full.
func TestFullDisk(t *testing.T) {
	smallSegments(t, 256<<10)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	opts, m := soloOptions(dir), newMachine()
	s := newTestStorage(dir)
	s.free = 1 << 40 // so that the reserve does not come first
	opts.Storage = s
	var full []error
	opts.Events.DiskFailing = func(err error) { full = append(full, err) }
	l := mustOpen(t, opts, m)
	mustPropose(t, l, 1, "before")
	hog := filepath.Join(dir, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	value := strings.Repeat("x", 20<<10)
	var mu sync.Mutex
	acked := make(map[uint64]bool)
	for id := uint64(2); !l.Status().NoSpace; id++ { // what fits into the segment is still taken
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			if _, err := l.Propose(ctx, id, payload(id, value)); err == nil {
				mu.Lock()
				acked[id] = true
				mu.Unlock()
			}
		})
		eventually(t, "it is saved or the disk is full", func() bool {
			select {
			case <-done:
				return true
			default:
				return l.Status().NoSpace
			}
		})
	}
	if err := l.ReadIndex(ctx); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Close(), os.Remove(hog)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writes are accepted again", func() bool {
		_, err := l.Propose(ctx, 1000, payload(1000, "after"))
		return err == nil
	})
	wg.Wait()
	cancel()
	mustStop(t, l)
	if len(full) == 0 || !errors.Is(full[0], syscall.ENOSPC) {
		t.Errorf("the disk failed by %v, want %v", full, syscall.ENOSPC)
	}
	m = m.reopened()
	for id := range acked {
		if m.values[id] != value {
			t.Errorf("proposal %d was acknowledged and is lost", id)
		}
	}
	if m.values[1000] != "after" || m.values[1] != "before" {
		t.Error("proposals before and after are lost")
	}
}
