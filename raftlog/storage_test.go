// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// testStorage is a log on disk whose saves can be held up and made to fail.
type testStorage struct {
	Storage
	mu    sync.Mutex
	saves []int         // entries of each
	gate  chan struct{} // if set, each save takes one from it first
	fault func() error  // if set, what a save fails with instead
	free  uint64        // if set, what FreeBytes says

	beforeReceived func() error // if set, called by SaveReceived
	snapshotFault  error        // if set, what SaveSnapshot fails with instead
}

func newTestStorage(dir string) *testStorage {
	return &testStorage{Storage: disk.New(disk.Options{
		WALDir:        filepath.Join(dir, "member", "wal"),
		SnapDir:       filepath.Join(dir, "member", "snap"),
		MaxWALs:       5,
		MaxSnapshots:  5,
		UnsafeNoFsync: true,
	})}
}

func (s *testStorage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// SaveReceived is held up and fails as Save does, and by beforeReceived.
func (s *testStorage) SaveReceived(snapshot *raftpb.Snapshot, state *raftpb.HardState) error {
	s.mu.Lock()
	first := s.beforeReceived
	s.mu.Unlock()
	if first != nil {
		if err := first(); err != nil {
			return err
		}
	}
	if err := s.pass(); err != nil {
		return err
	}
	return s.Storage.SaveReceived(snapshot, state)
}

func (s *testStorage) SaveSnapshot(snapshot *raftpb.Snapshot) error {
	s.mu.Lock()
	fault := s.snapshotFault
	s.mu.Unlock()
	if fault != nil {
		return fault
	}
	return s.Storage.SaveSnapshot(snapshot)
}

func (s *testStorage) Save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := s.pass(); err != nil {
		return err
	}
	s.set(func() { s.saves = append(s.saves, len(entries)) })
	return s.Storage.Save(state, entries)
}

// pass waits for the gate and asks for a fault.
func (s *testStorage) pass() error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		return fault()
	}
	return nil
}

func (s *testStorage) Reopen() error {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if err := fault(); err != nil {
			return err
		}
	}
	return s.Storage.Reopen()
}

func (s *testStorage) FreeBytes() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != 0 {
		return s.free, nil
	}
	return s.Storage.FreeBytes()
}

// eventually polls until ok, and fails the test if that takes too long.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
