// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// machine is a state machine that remembers what it was given. Its durable half survives being reopened, as
// a database file would.
type machine struct {
	mu       sync.Mutex
	index    uint64
	conf     *raftpb.ConfState
	values   map[uint64]string // by proposal id
	order    []uint64          // ids
	changes  []ConfChange
	calls    int // of Apply
	durable  *machineState
	lag      uint64        // entries that Persist leaves out
	refuse   error         // of conf changes
	gate     chan struct{} // if set, Apply takes one from it each time
	persists int
}

type machineState struct {
	index  uint64
	conf   *raftpb.ConfState
	values map[uint64]string
	order  []uint64
}

func newMachine() *machine {
	return &machine{values: make(map[uint64]string), durable: &machineState{}}
}

// reopened returns the machine as it is after a crash.
func (m *machine) reopened() *machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := newMachine()
	r.durable = m.durable
	r.index, r.conf = m.durable.index, m.durable.conf
	for id, v := range m.durable.values {
		r.values[id] = v
	}
	r.order = append(r.order, m.durable.order...)
	return r
}

// payload is a proposal's data: its id and a value.
func payload(id uint64, value string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, id), value...)
}

func (m *machine) Applied() (uint64, *raftpb.ConfState) { return m.index, m.conf }

func (m *machine) Apply(entries []Entry) []Result {
	if m.gate != nil {
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	var results []Result
	for _, e := range entries {
		m.advance(e.Index)
		id, value := binary.BigEndian.Uint64(e.Data), string(e.Data[8:])
		if _, twice := m.values[id]; twice {
			panic(fmt.Sprintf("proposal %d applied twice", id))
		}
		m.values[id] = value
		m.order = append(m.order, id)
		results = append(results, Result{ID: id, Value: value + "!"})
	}
	return results
}

func (m *machine) advance(index uint64) {
	if index != m.index+1 {
		panic(fmt.Sprintf("entry %d applied after %d", index, m.index))
	}
	m.index = index
}

func (m *machine) ApplyEmpty(index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(index)
}

func (m *machine) CheckConfChange(ConfChange) error { return m.refuse }

func (m *machine) ApplyConfChange(change ConfChange, conf *raftpb.ConfState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(change.Index)
	m.conf = proto.Clone(conf).(*raftpb.ConfState)
	m.changes = append(m.changes, change)
	return nil
}

func (m *machine) Persist(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.persists++
	if m.lag > 0 {
		return m.durable.index, errors.New("the machine's disk is slow")
	}
	s := &machineState{index: m.index, conf: m.conf, values: make(map[uint64]string)}
	for id, v := range m.values {
		s.values[id] = v
	}
	s.order = append(s.order, m.order...)
	m.durable = s
	return s.index, nil
}

func (m *machine) SnapshotData() ([]byte, error) { return []byte(`{"members":"here"}`), nil }

// has fails the test unless ids were applied with their values, and nothing else.
func (m *machine) has(t *testing.T, values map[uint64]string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, v := range values {
		if got, ok := m.values[id]; !ok || got != v {
			t.Errorf("proposal %d: machine has %q, %v, want %q", id, got, ok, v)
		}
	}
	if len(m.values) != len(values) {
		t.Errorf("machine has %d proposals, want %d", len(m.values), len(values))
	}
}

func (m *machine) OpenSnapshot(context.Context, uint64) (*StateSnapshot, error) {
	return nil, errors.New("not supported yet")
}

func (m *machine) Restore(context.Context, *raftpb.Snapshot) error {
	return errors.New("not supported yet")
}
