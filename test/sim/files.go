// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog/disk"
)

// sectorBytes is what a disk writes all or nothing of.
const sectorBytes = 512

// fileMedium is the real package raftlog/disk in real files. A crash copies to another folder what it leaves; the
// log that was open is closed and forgotten.
type fileMedium struct {
	dir        string
	generation int
	log        *disk.WAL
	synced     map[string]int // bytes of each segment that survive any crash
}

func (m *fileMedium) walDir() string {
	return filepath.Join(m.dir, fmt.Sprint(m.generation), "wal")
}

func (m *fileMedium) snapDir() string {
	return filepath.Join(m.dir, fmt.Sprint(m.generation), "snap")
}

func (m *fileMedium) current() *disk.WAL {
	if m.log == nil {
		m.log = disk.New(disk.Options{WALDir: m.walDir(), SnapDir: m.snapDir(), MaxWALs: 1, MaxSnapshots: 1, UnsafeNoFsync: true})
	}
	return m.log
}

func (m *fileMedium) identity() (disk.Identity, bool, error) { return m.current().Identity() }

func (m *fileMedium) open(id disk.Identity, applied uint64) (*disk.Recovered, error) {
	rec, err := m.current().Open(id, applied)
	if err != nil {
		return nil, err
	}
	return rec, m.sync()
}

// save writes. A new segment means that the earlier ones are synced.
func (m *fileMedium) save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := m.current().Save(state, entries); err != nil {
		return err
	}
	segments, err := m.segments()
	if err != nil {
		return err
	}
	for _, path := range segments {
		if _, known := m.synced[filepath.Base(path)]; !known {
			return m.sync()
		}
	}
	return nil
}

func (m *fileMedium) reopen() error {
	if err := m.current().Reopen(); err != nil {
		return err
	}
	return m.sync()
}

func (m *fileMedium) saveSnapshot(s *raftpb.Snapshot) error { return m.current().SaveSnapshot(s) }

func (m *fileMedium) saveReceived(s *raftpb.Snapshot, state *raftpb.HardState) error {
	return m.current().SaveReceived(s, state)
}

func (m *fileMedium) segments() ([]string, error) {
	return filepath.Glob(filepath.Join(m.walDir(), "*.wal"))
}

// used returns the bytes of a segment up to its last one that isn't zero: the rest is allocated in advance.
func used(data []byte) int { return len(bytes.TrimRight(data, "\x00")) }

func (m *fileMedium) sync() error {
	segments, err := m.segments()
	if err != nil {
		return err
	}
	m.synced = make(map[string]int)
	for _, path := range segments {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m.synced[filepath.Base(path)] = used(data)
	}
	return nil
}

// crash copies what is left of each file and lets go of the old ones.
func (m *fileMedium) crash(r random, kind crashKind) error {
	old, before := m.log, filepath.Join(m.dir, fmt.Sprint(m.generation))
	segments, err := m.segments()
	if err != nil {
		return err
	}
	snapshots, err := filepath.Glob(filepath.Join(m.snapDir(), "*.snap"))
	if err != nil {
		return err
	}
	m.generation++
	m.log = nil
	copies := make(map[string][]byte)
	for _, path := range segments {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if kind == crashPower {
			tear(r, data, m.synced[filepath.Base(path)])
		}
		copies[filepath.Join(m.walDir(), filepath.Base(path))] = data
	}
	for _, path := range snapshots {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		copies[filepath.Join(m.snapDir(), filepath.Base(path))] = data
	}
	for path, data := range copies {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	if old != nil {
		_ = old.Close() // what it can't write is nobody's any more
	}
	return os.RemoveAll(before)
}

// tear leaves, of the sectors that hold bytes which were not synced, what the seed decides: each is as it was at the
// last sync or as it was written.
func tear(r random, data []byte, synced int) {
	end := used(data)
	if end <= synced {
		return
	}
	first, last := synced/sectorBytes, (end-1)/sectorBytes
	keep := first + r.IntN(last-first+2) // sectors before this one are written
	holes := r.chance(0.3)
	for s := first; s <= last; s++ {
		if s >= keep || holes && r.chance(0.3) {
			from := max(s*sectorBytes, synced)
			clear(data[from:min((s+1)*sectorBytes, len(data))])
		}
	}
}

func (m *fileMedium) newest() (uint64, error) {
	index, _, err := disk.NewestSnapshot(m.walDir())
	return index, err
}

func (m *fileMedium) close() error {
	if m.log == nil {
		return nil
	}
	err := m.log.Close()
	m.log = nil
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// smallSegments has the wal package begin a new segment after a number of bytes, until the returned function is
// called. The variable is the process's.
func smallSegments(bytes int) (restore func()) {
	before := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = int64(bytes)
	return func() { wal.SegmentSizeBytes = before }
}
