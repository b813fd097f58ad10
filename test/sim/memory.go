// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/raftlog"
)

// memoryDisk is what a memoryMachine keeps: images of the state as of some entries.
type memoryDisk struct {
	image    *keyspace // what a process that ends leaves
	synced   *keyspace // what a loss of power leaves
	received map[uint64][]byte
}

func newMemoryDisk() *memoryDisk {
	return &memoryDisk{image: newKeyspace(), synced: newKeyspace(), received: make(map[uint64][]byte)}
}

func (d *memoryDisk) open(n *node, received uint64) (machine, error) {
	if body, ok := d.received[received]; ok && received > d.image.Applied {
		k, err := decodeBody(body)
		if err != nil {
			return nil, err
		}
		d.image, d.synced = k, k
	}
	clear(d.received)
	return &memoryMachine{keyspace: d.image.clone(), node: n, disk: d}, nil
}

func (d *memoryDisk) crash(_ random, kind crashKind) error {
	if kind == crashPower {
		d.image = d.synced
	}
	return nil
}

func (d *memoryDisk) durable() uint64 { return d.synced.Applied }

func (d *memoryDisk) close() error { return nil }

// memoryMachine is a keyspace as a state machine.
type memoryMachine struct {
	*keyspace
	node *node
	disk *memoryDisk
}

// Applied implements raftlog.StateMachine.
func (m *memoryMachine) Applied() (uint64, *raftpb.ConfState) {
	conf, err := m.conf()
	if err != nil {
		m.node.world.failf("n%d: configuration in the image: %w", m.node.id, err)
	}
	return m.keyspace.Applied, conf
}

// Apply implements raftlog.StateMachine.
func (m *memoryMachine) Apply(entries []raftlog.Entry) []raftlog.Result {
	var results []raftlog.Result
	for _, e := range entries {
		o, err := m.applyEntry(m.node.world.plan.bug.entry(m.node, e))
		if err != nil {
			m.node.world.failf("n%d: %w", m.node.id, err)
			return nil
		}
		m.node.world.history.applied(m.node, e, o, m.keyspace.Hash)
		results = append(results, raftlog.Result{ID: o.id, Value: o})
	}
	m.maybeWrite()
	return results
}

// maybeWrite has the image on disk, which is not synced, follow the state now and then.
func (m *memoryMachine) maybeWrite() {
	if m.node.world.rng.chance(m.node.world.plan.imageShare) {
		m.disk.image = m.clone()
	}
}

// ApplyEmpty implements raftlog.StateMachine.
func (m *memoryMachine) ApplyEmpty(index, term uint64) {
	m.applyEmpty(index, term)
	m.node.world.history.appliedEmpty(m.node, index, term, m.keyspace.Hash)
}

// CheckConfChange implements raftlog.StateMachine.
func (m *memoryMachine) CheckConfChange(change raftlog.ConfChange) error {
	return m.checkConfChange(change)
}

// ApplyConfChange implements raftlog.StateMachine.
func (m *memoryMachine) ApplyConfChange(change raftlog.ConfChange, conf *raftpb.ConfState) error {
	m.applyConfChange(change, conf)
	m.node.world.history.appliedConf(m.node, change, conf, m.keyspace.Hash)
	return nil
}

// Persist implements raftlog.StateMachine.
func (m *memoryMachine) Persist(context.Context) (uint64, error) {
	switch m.node.world.plan.bug {
	case BugEarlyRelease:
		return m.keyspace.Applied, nil
	case BugForgottenApplied:
		image := m.clone()
		image.Applied--
		m.disk.image, m.disk.synced = image, image
		return m.keyspace.Applied, nil
	}
	image := m.clone()
	m.disk.image, m.disk.synced = image, image
	return image.Applied, nil
}

// SnapshotData implements raftlog.StateMachine.
func (m *memoryMachine) SnapshotData() ([]byte, error) { return m.keyspace.Conf, nil }

// OpenSnapshot implements raftlog.StateMachine.
func (m *memoryMachine) OpenSnapshot(_ context.Context, _, atLeast uint64) (*raftlog.StateSnapshot, error) {
	if m.keyspace.Applied < atLeast {
		return nil, fmt.Errorf("a snapshot of entry %d is asked for, %d is applied", atLeast, m.keyspace.Applied)
	}
	body, err := encodeBody(m.keyspace)
	if err != nil {
		return nil, err
	}
	conf, err := m.conf()
	if err != nil {
		return nil, err
	}
	return &raftlog.StateSnapshot{
		Snapshot: &raftpb.Snapshot{
			Data:     m.keyspace.Conf,
			Metadata: &raftpb.SnapshotMetadata{Index: new(m.keyspace.Applied), Term: new(m.keyspace.Term), ConfState: conf},
		},
		Size: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// Restore implements raftlog.StateMachine.
func (m *memoryMachine) Restore(_ context.Context, s *raftpb.Snapshot) error {
	index := s.GetMetadata().GetIndex()
	k, err := decodeBody(m.disk.received[index])
	if err != nil {
		return err
	}
	if k.Applied != index {
		return fmt.Errorf("the snapshot of entry %d holds entry %d", index, k.Applied)
	}
	m.node.maybeCrash("restore-before")
	m.disk.image, m.disk.synced = k, k
	m.node.maybeCrash("restore-after")
	m.keyspace = k.clone()
	maps.DeleteFunc(m.disk.received, func(other uint64, _ []byte) bool { return other <= index })
	m.node.world.history.restored(m.node, index)
	return nil
}

func (m *memoryMachine) outcome(value any) outcome {
	o, _ := value.(outcome) // nothing for a change of membership
	return o
}

func (m *memoryMachine) read(key string) (item, int64, error) { return m.Keys[key], m.Rev, nil }

func (m *memoryMachine) receive(index uint64, body []byte) error {
	if _, err := decodeBody(body); err != nil {
		return err
	}
	m.disk.received[index] = bytes.Clone(body)
	return nil
}

func (m *memoryMachine) hash() (uint64, error) { return m.keyspace.Hash, nil }

// encodeBody returns a keyspace as a snapshot's body, with a checksum at its end.
func encodeBody(k *keyspace) ([]byte, error) {
	body, err := k.encode()
	if err != nil {
		return nil, err
	}
	sum := crc32.ChecksumIEEE(body)
	return append(body, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)), nil
}

func decodeBody(body []byte) (*keyspace, error) {
	n := len(body) - 4
	if n < 0 {
		return nil, errors.New("the snapshot's body is missing")
	}
	sum := crc32.ChecksumIEEE(body[:n])
	if !bytes.Equal(body[n:], []byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}) {
		return nil, fmt.Errorf("a snapshot's body of %d bytes is not whole", len(body))
	}
	return decodeKeyspace(body[:n])
}

// memoryStream watches a memoryMachine.
type memoryStream struct {
	m      *memoryMachine
	lo, hi string
	from   int64 // the next revision
}

func (m *memoryMachine) watch(lo, hi string, from int64) (stream, error) {
	return &memoryStream{m, lo, hi, from}, nil
}

func inRange(key, lo, hi string) bool { return key == lo || hi != "" && key >= lo && key < hi }

func (s *memoryStream) next(int64) ([]watchEvent, int64, error) {
	k := s.m.keyspace
	if s.from < k.Compact {
		return nil, 0, errCompacted
	}
	if s.from > k.Rev {
		return nil, s.from - 1, nil
	}
	// A page of whole revisions.
	upTo := min(k.Rev, s.from+s.m.node.world.rng.Int64N(8))
	at, _ := slices.BinarySearchFunc(k.Events, s.from, func(e watchEvent, rev int64) int { return int(e.Rev - rev) })
	var events []watchEvent
	for ; at < len(k.Events) && k.Events[at].Rev <= upTo; at++ {
		if e := k.Events[at]; inRange(e.Key, s.lo, s.hi) {
			events = append(events, e)
		}
	}
	s.from = upTo + 1
	return events, upTo, nil
}

func (s *memoryStream) close() {}
