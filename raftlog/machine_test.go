// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	term         uint64 // of index
	received     map[uint64][]byte
	openFault    error
	restoreFault error
	restoreGate  chan struct{} // if set, Restore takes one from it
	opened       int           // snapshots
	restores     int
}

type machineState struct {
	index  uint64
	conf   *raftpb.ConfState
	values map[uint64]string
	order  []uint64
}

func newMachine() *machine {
	return &machine{values: make(map[uint64]string), durable: &machineState{}, received: make(map[uint64][]byte)}
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
	r.received = m.received
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
		m.advance(e.Index, e.Term)
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

func (m *machine) advance(index, term uint64) {
	if index != m.index+1 {
		panic(fmt.Sprintf("entry %d applied after %d", index, m.index))
	}
	m.index, m.term = index, term
}

func (m *machine) ApplyEmpty(index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(index, term)
}

func (m *machine) CheckConfChange(ConfChange) error { return m.refuse }

func (m *machine) ApplyConfChange(change ConfChange, conf *raftpb.ConfState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(change.Index, change.Term)
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
	m.durable = m.stateLocked()
	return m.durable.index, nil
}

func (m *machine) stateLocked() *machineState {
	s := &machineState{index: m.index, conf: m.conf, values: make(map[uint64]string)}
	for id, v := range m.values {
		s.values[id] = v
	}
	s.order = append(s.order, m.order...)
	return s
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

// content is the machine's state as bytes.
type content struct {
	Index  uint64
	Conf   []byte
	Values map[uint64]string
	Order  []uint64
}

func (m *machine) OpenSnapshot(_ context.Context, _, atLeast uint64) (*StateSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.openFault != nil {
		return nil, m.openFault
	}
	conf, err := proto.Marshal(m.conf)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(content{m.index, conf, m.values, m.order})
	if err != nil {
		return nil, err
	}
	m.opened++
	return &StateSnapshot{
		Snapshot: &raftpb.Snapshot{
			Data: []byte(`{"members":"here"}`),
			Metadata: &raftpb.SnapshotMetadata{
				Index: new(m.index), Term: new(m.term), ConfState: proto.Clone(m.conf).(*raftpb.ConfState),
			},
		},
		Size: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// receive keeps the content of a snapshot, as a file would.
func (m *machine) receive(index uint64, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received[index] = body
}

func (m *machine) Restore(_ context.Context, s *raftpb.Snapshot) error {
	m.mu.Lock()
	gate := m.restoreGate
	m.mu.Unlock()
	if gate != nil {
		<-gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.restoreFault != nil {
		return m.restoreFault
	}
	return m.restoreLocked(s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm())
}

func (m *machine) restoreLocked(index, term uint64) error {
	body, ok := m.received[index]
	if !ok {
		return fmt.Errorf("no content of entry %d was received", index)
	}
	var c content
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	conf := new(raftpb.ConfState)
	if err := proto.Unmarshal(c.Conf, conf); err != nil {
		return err
	}
	if c.Index != index || index < m.index {
		return fmt.Errorf("content of entry %d received as that of %d, at %d", c.Index, index, m.index)
	}
	delete(m.received, index)
	m.index, m.term, m.conf, m.values, m.order = index, term, conf, c.Values, c.Order
	m.durable = m.stateLocked()
	m.restores++
	return nil
}

// finishRestore does what Restore did not get to before a crash: the log's newest snapshot is index.
func (m *machine) finishRestore(t *testing.T, index uint64) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.received[index] == nil {
		return
	}
	if err := m.restoreLocked(index, 0); err != nil {
		t.Error(err)
	}
}

func (m *machine) set(change func(m *machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *machine) value(id uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[id]
}

// opens returns how many snapshots were opened.
func (m *machine) opens() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened
}
