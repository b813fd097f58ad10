// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog/disk"
)

// simLog is a log in simulated segments: bytes are written first and synced later, and a crash decides what
// is left of those that were not. It plays by the rules of raftlog.Storage but leaves the sync to the world.
type simLog struct {
	id       disk.Identity
	segments []*segment
	limit    int // bytes of a segment before the next one is begun
	state    *raftpb.HardState
	last     uint64
}

// segment is one file. Every one begins with the identity and the hard state.
type segment struct {
	first  uint64 // no entry in it is older
	data   []byte
	synced int
}

// Kinds of records.
const (
	recordIdentity byte = iota + 1
	recordState
	recordEntry
	recordSnapshot // of our own state machine
	recordReceived // another's, with which the log begins anew
)

const recordHeader = 9 // length, checksum, kind

func (s *segment) append(kind byte, payload []byte) {
	sum := crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, payload)
	s.data = binary.LittleEndian.AppendUint32(s.data, uint32(len(payload)))
	s.data = binary.LittleEndian.AppendUint32(s.data, sum)
	s.data = append(s.data, kind)
	s.data = append(s.data, payload...)
}

// next reads the record at off; ok is false where none is whole.
func (s *segment) next(off int) (kind byte, payload []byte, end int, ok bool) {
	if off+recordHeader > len(s.data) {
		return 0, nil, 0, false
	}
	length := int(binary.LittleEndian.Uint32(s.data[off:]))
	sum := binary.LittleEndian.Uint32(s.data[off+4:])
	kind = s.data[off+8]
	end = off + recordHeader + length
	if kind == 0 || length < 0 || end > len(s.data) {
		return 0, nil, 0, false
	}
	payload = s.data[off+recordHeader : end]
	if crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, payload) != sum {
		return 0, nil, 0, false
	}
	return kind, payload, end, true
}

func encode(m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // raft's own messages always encode
	}
	return data
}

func (l *simLog) tail() *segment { return l.segments[len(l.segments)-1] }

// write appends a record, in a new segment if the last one is full. As in etcd's log a new segment means that the
// earlier ones are synced.
func (l *simLog) write(kind byte, payload []byte) {
	if len(l.segments) == 0 || len(l.tail().data) >= l.limit {
		l.sync()
		s := &segment{first: l.last + 1}
		s.append(recordIdentity, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, l.id.MemberID), l.id.ClusterID))
		if l.state != nil {
			s.append(recordState, encode(l.state))
		}
		s.synced = len(s.data)
		l.segments = append(l.segments, s)
	}
	l.tail().append(kind, payload)
}

func (l *simLog) sync() {
	for _, s := range l.segments {
		s.synced = len(s.data)
	}
}

func (l *simLog) save(state *raftpb.HardState, entries []*raftpb.Entry) {
	for _, e := range entries {
		l.write(recordEntry, encode(e))
		l.last = e.GetIndex()
	}
	if state.GetTerm() > 0 {
		l.state = proto.Clone(state).(*raftpb.HardState)
		l.write(recordState, encode(state))
	}
}

// saveSnapshot records that entries up to the snapshot are needed no more and drops segments that hold only such.
func (l *simLog) saveSnapshot(m *raftpb.SnapshotMetadata) {
	if l.state.GetCommit() < m.GetIndex() {
		l.save(&raftpb.HardState{Term: new(l.state.GetTerm()), Vote: new(l.state.GetVote()), Commit: new(m.GetIndex())}, nil)
	}
	l.write(recordSnapshot, encode(m))
	l.sync()
	l.release(m.GetIndex())
}

func (l *simLog) saveReceived(m *raftpb.SnapshotMetadata, state *raftpb.HardState) {
	l.write(recordReceived, encode(m))
	l.last = m.GetIndex()
	l.save(state, nil)
	l.sync()
	l.release(m.GetIndex())
}

// release drops segments that hold no entry from index on. The one that has the record of index is never among them.
func (l *simLog) release(index uint64) {
	for len(l.segments) > 1 && l.segments[1].first <= index {
		l.segments = l.segments[1:]
	}
}

// crash leaves of the bytes that were not synced what the seed decides: all, none, a part, or a part with a
// hole in it.
func (l *simLog) crash(r random, kind crashKind) {
	if kind == crashProcess {
		return
	}
	for _, s := range l.segments {
		loose := len(s.data) - s.synced
		if loose == 0 {
			continue
		}
		keep := r.IntN(loose + 1)
		s.data = append([]byte(nil), s.data[:s.synced+keep]...)
		if keep > 0 && r.chance(0.3) {
			hole := s.synced + r.IntN(keep)
			clear(s.data[hole:min(len(s.data), hole+1+r.IntN(64))])
		}
	}
}

// open reads the log back from the newest snapshot not newer than applied.
func (l *simLog) open(id disk.Identity, applied uint64) (*disk.Recovered, error) {
	if len(l.segments) == 0 {
		l.id, l.state, l.last = id, nil, 0
		return &disk.Recovered{Identity: id, Snapshot: new(raftpb.SnapshotMetadata), HardState: new(raftpb.HardState)}, nil
	}
	if id != l.id {
		return nil, &disk.IdentityError{Path: "simulated log", Want: id, Got: l.id}
	}
	r, err := l.replay(applied)
	if err != nil {
		return nil, err
	}
	if r.first > 1 && r.start.GetIndex()+1 < r.first || r.gap {
		return nil, &disk.GapError{Applied: applied, First: r.first}
	}
	l.state = r.state
	l.last = r.start.GetIndex() + uint64(len(r.entries))
	return &disk.Recovered{Identity: l.id, Snapshot: r.start, HardState: r.state, Entries: r.entries}, nil
}

// newest returns the index of the newest snapshot that is recorded and committed.
func (l *simLog) newest() (uint64, error) {
	r, err := l.replay(^uint64(0))
	if err != nil {
		return 0, err
	}
	return r.start.GetIndex(), nil
}

// replayed is what reading all segments gave.
type replayed struct {
	first   uint64 // the oldest entry that there may be
	start   *raftpb.SnapshotMetadata
	state   *raftpb.HardState
	entries []*raftpb.Entry
	gap     bool // an entry is missing between others
}

// replay reads all segments, first for the snapshot to begin at and then for what follows it.
func (l *simLog) replay(applied uint64) (*replayed, error) {
	r := &replayed{start: new(raftpb.SnapshotMetadata), state: new(raftpb.HardState)}
	if len(l.segments) == 0 {
		return r, nil
	}
	r.first = l.segments[0].first
	var snapshots []*raftpb.SnapshotMetadata
	err := l.each(func(kind byte, payload []byte) error {
		switch kind {
		case recordState:
			state := new(raftpb.HardState)
			r.state = state
			return proto.Unmarshal(payload, state)
		case recordSnapshot, recordReceived:
			m := new(raftpb.SnapshotMetadata)
			snapshots = append(snapshots, m)
			return proto.Unmarshal(payload, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, m := range snapshots {
		if i := m.GetIndex(); i <= applied && i <= r.state.GetCommit() && i >= r.start.GetIndex() {
			r.start = m
		}
	}
	return r, l.each(r.take)
}

// take adds one record's entry after the snapshot.
func (r *replayed) take(kind byte, payload []byte) error {
	switch kind {
	case recordReceived:
		m := new(raftpb.SnapshotMetadata)
		if err := proto.Unmarshal(payload, m); err != nil {
			return err
		}
		if m.GetIndex() <= r.start.GetIndex() {
			r.entries = nil
		}
	case recordEntry:
		e := new(raftpb.Entry)
		if err := proto.Unmarshal(payload, e); err != nil {
			return err
		}
		if e.GetIndex() <= r.start.GetIndex() {
			return nil
		}
		at := e.GetIndex() - r.start.GetIndex() - 1
		if at > uint64(len(r.entries)) {
			r.gap = true
			return nil
		}
		r.entries = append(r.entries[:at], e)
		r.gap = false
	}
	return nil
}

// each calls fn for every record. A torn end is cut off; damage anywhere else is an error.
func (l *simLog) each(fn func(kind byte, payload []byte) error) error {
	for i, s := range l.segments {
		for off := 0; off < len(s.data); {
			kind, payload, end, ok := s.next(off)
			if !ok {
				if i < len(l.segments)-1 || off < s.synced {
					return &disk.CorruptError{Path: fmt.Sprintf("segment %d", i), Offset: int64(off), Reason: "synced bytes are damaged"}
				}
				s.data = s.data[:off]
				break
			}
			if err := fn(kind, payload); err != nil {
				return err
			}
			off = end
		}
		s.synced = len(s.data)
	}
	return nil
}
