// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// segment is a file of the log.
type segment struct {
	path string
	// seq numbers segments without gaps; index is the first entry that may be in this one.
	seq, index uint64
}

// segments lists the log's files, oldest first.
func segments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list write-ahead log: %w", err)
	}
	var all []segment
	for _, f := range files {
		var s segment
		if n, err := fmt.Sscanf(f.Name(), "%016x-%016x.wal", &s.seq, &s.index); n != 2 || err != nil {
			continue
		}
		if f.Name() != fmt.Sprintf("%016x-%016x.wal", s.seq, s.index) {
			continue
		}
		s.path = filepath.Join(dir, f.Name())
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b segment) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return all, nil
}

// ReadIdentity returns whom the log in dir belongs to, or false if there is no log. It changes nothing and
// needs no lock.
func ReadIdentity(dir string) (Identity, bool, error) {
	all, err := segments(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(all) == 0 {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, err
	}
	path := all[len(all)-1].path
	b, err := readHead(path)
	if err != nil {
		return Identity{}, false, err
	}
	// Every segment begins with the running checksum and the metadata.
	first, end, err := frameAt(b, 0)
	if err != nil || end == 0 || first.kind != recordCRC {
		return Identity{}, false, &CorruptError{Path: path, Reason: "no checksum at the beginning"}
	}
	second, _, err := frameAt(b, end)
	if err != nil || second.kind != recordMetadata || second.crc != crc32.Update(first.crc, castagnoli, second.data) {
		return Identity{}, false, &CorruptError{Path: path, Offset: end, Reason: "no metadata at the beginning"}
	}
	id, err := decodeIdentity(second.data)
	if err != nil {
		return Identity{}, false, &CorruptError{Path: path, Offset: end, Reason: err.Error()}
	}
	return id, true, nil
}

// headBytes is enough for a segment's first records.
const headBytes = 4096

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read write-ahead log: %w", err)
	}
	b := make([]byte, headBytes)
	n, err := f.ReadAt(b, 0)
	if n == 0 && err != nil {
		return nil, errors.Join(fmt.Errorf("read write-ahead log %s: %w", path, err), f.Close())
	}
	return b[:n], f.Close()
}

func decodeIdentity(metadata []byte) (Identity, error) {
	var m etcdserverpb.Metadata
	if err := proto.Unmarshal(metadata, &m); err != nil {
		return Identity{}, fmt.Errorf("metadata: %w", err)
	}
	if m.GetNodeID() == 0 {
		return Identity{}, errors.New("metadata names no member")
	}
	return Identity{MemberID: m.GetNodeID(), ClusterID: m.GetClusterID()}, nil
}

// segmentScan is what one segment holds.
type segmentScan struct {
	begin, end uint32 // running checksum before and after
	events     []recorded
	commit     uint64    // of the last state
	last       entryHead // the last entry's, or the newer snapshot's; index 0 if there is none
	entries    bool      // there is one
	records    int
	good       int64 // bytes that are whole and right
	fault      error // what is wrong with the record at good; nil: the segment ends there
	whole      bool  // the record at good is as it was written, which is wrong

	newest   uint64 // highest term of an entry since the last state
	newestAt int64
}

// scanSegment reads the segment in b until its end or the first record that is not right.
func scanSegment(b []byte) *segmentScan {
	s := new(segmentScan)
	for {
		r, end, err := frameAt(b, s.good)
		if err != nil || end == 0 {
			s.fault = err
			return s
		}
		if r.kind == recordCRC && s.records == 0 {
			// What the segment before ended with; it is compared with that.
			s.begin, s.end = r.crc, r.crc
		}
		crc := crc32.Update(s.end, castagnoli, r.data)
		if crc != r.crc {
			s.fault = errors.New("checksum does not match")
			return s
		}
		if err := s.note(r); err != nil {
			s.fault, s.whole = err, true
			return s
		}
		s.end, s.good = crc, end
		s.records++
	}
}

// note keeps what is to be known of a record. Checksums do not cover a record's type, so it also looks whether
// the content is of that type: an error says that it is not.
func (s *segmentScan) note(r record) error {
	if (r.kind == recordCRC) != (s.records == 0) || (r.kind == recordMetadata) != (s.records == 1) {
		return fmt.Errorf("record %d of a segment has type %d", s.records, r.kind)
	}
	switch r.kind {
	case recordSnapshot:
		snapshot := new(walpb.Snapshot)
		if err := proto.Unmarshal(r.data, snapshot); err != nil {
			return fmt.Errorf("snapshot record: %w", err)
		}
		s.events = append(s.events, recorded{snapshot: snapshot})
		if index := snapshot.GetIndex(); index > s.last.index {
			s.last = entryHead{term: snapshot.GetTerm(), index: index}
		}
	case recordState:
		state, ok := parseState(r.data)
		if !ok {
			return errors.New("state record without a state")
		}
		if s.newest > state.term {
			s.good = s.newestAt
			return fmt.Errorf("entry of term %d before term %d ended", s.newest, state.term)
		}
		s.newest, s.commit = 0, state.commit
	case recordEntry:
		e, ok := parseEntryHead(r.data)
		if !ok {
			return errors.New("entry record without an entry")
		}
		// A snapshot record may be older than entries in the segment before, so it alone does not say what is next.
		if s.entries && e.index > s.last.index+1 {
			return fmt.Errorf("entry %d follows entry %d", e.index, s.last.index)
		}
		if e.term > s.newest {
			s.newest, s.newestAt = e.term, s.good
		}
		s.last, s.entries = e, true
		s.noteEntry(e)
	}
	return nil
}

// noteEntry adds an entry to those recorded.
func (s *segmentScan) noteEntry(e entryHead) {
	if n := len(s.events); n > 0 {
		if run := &s.events[n-1]; run.snapshot == nil && run.term == e.term && run.last+1 == e.index {
			run.last = e.index
			return
		}
	}
	s.events = append(s.events, recorded{first: e.index, last: e.index, term: e.term})
}

// tear is a torn end: the rest of the file after off was never written whole.
type tear struct {
	path string
	off  int64
	// zero says that the rest begins as preallocated space does; opening the log clears it.
	zero bool
}

// scanned is where to open a log.
type scanned struct {
	start *walpb.Snapshot
	// last is the index of the last entry that counts, whatever the segments hold.
	last uint64
	tear *tear
	end  fileEnd
}

// fileEnd is where the log ends: a segment, by its number, and the offset in it after the last good record.
type fileEnd struct {
	seq uint64
	off int64
}

// scan checks a log from its end back to the newest snapshot that is not newer than applied, which is
// where it can be opened. It changes nothing.
func scan(all []segment, applied uint64) (*scanned, error) {
	result := new(scanned)
	var next *segmentScan
	var held history
	var first uint64
	for i := len(all) - 1; i >= 0; i-- {
		if i+1 < len(all) && all[i+1].seq != all[i].seq+1 {
			break
		}
		s, tear, err := checkSegment(all[i].path, next)
		if err != nil {
			return nil, err
		}
		if next == nil {
			result.tear, result.end = tear, fileEnd{all[i].seq, s.good}
		}
		first, next = all[i].index, s
		held.prepend(s)
		start, gap := held.start(applied)
		if gap >= first && gap > 0 {
			return nil, &GapError{Applied: applied, First: gap + 1}
		}
		if start != nil && first <= start.snapshot.GetIndex() {
			result.start, result.last = start.snapshot, held.last()
			return result, nil
		}
	}
	return nil, &GapError{Applied: applied, First: first}
}

// checkSegment scans a segment and decides what its end is. next is the one that follows, nil for the last.
func checkSegment(path string, next *segmentScan) (*segmentScan, *tear, error) {
	b, unmap, err := mapFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read write-ahead log: %w", err)
	}
	s := scanSegment(b)
	var t *tear
	if next == nil {
		t, err = findTear(path, b, s)
	} else {
		err = checkWhole(path, b, s, next)
	}
	return s, t, errors.Join(err, unmap())
}

// mapFile maps a file into memory: a segment is large and read once, and should not be left to the garbage
// collector. What is written to the result does not go to the file.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		b, err = syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", path, err)
	}
	if b == nil {
		return nil, func() error { return nil }, nil
	}
	return b, func() error { return syscall.Munmap(b) }, nil
}

// checkWhole checks a segment that others follow: it was synced before the next one began.
func checkWhole(path string, b []byte, s, next *segmentScan) error {
	if s.fault != nil {
		return &CorruptError{Path: path, Offset: s.good, Reason: s.fault.Error()}
	}
	if !isZero(b[s.good:]) {
		return &CorruptError{Path: path, Offset: s.good, Reason: "content after the end"}
	}
	if s.end != next.begin {
		return &CorruptError{Path: path, Offset: s.good, Reason: "the next segment does not continue this one"}
	}
	return nil
}
