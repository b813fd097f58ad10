// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The last segment may end in what a crash left of a write that was never synced, and so never acknowledged.
// It may also be damaged, in records that were. The first is cut off, the second must not be. What tells
// them apart:
//
//   - A disk writes whole sectors. A torn write lacks some: where they should be there are zeros, or the file
//     ends. A record that is wrong and lacks nothing is damaged.
//   - A record tells its length twice, in the frame's header and in its own encoding. One that is right but
//     for the header is damaged.
//   - A write begins when the one before is synced. If a record further on says that an entry is committed,
//     that entry was synced: what is wrong before it is damaged.

// findTear decides what follows the last good record of the last segment: nothing or free space (nil), a
// tear, or damage (*CorruptError).
func findTear(path string, b []byte, s *segmentScan) (*tear, error) {
	off, rest := s.good, b[s.good:]
	corrupt := func(reason string) (*tear, error) {
		return nil, &CorruptError{Path: path, Offset: off, Reason: reason}
	}
	if s.fault == nil && isZero(rest) {
		return nil, nil
	}
	if bodyIsRight(rest, s.end) {
		return corrupt("length of a record is wrong")
	}
	if s.fault == nil && !isZero(rest[:sectorRest(off, len(rest))]) {
		return corrupt("length of a record is missing")
	}
	if s.fault != nil && !lacksSector(b, off) {
		return corrupt(s.fault.Error())
	}
	if committedAfter(b, off+frameHeaderBytes) > entryIndex(s.entry) {
		return corrupt("a record before committed ones is not whole")
	}
	return &tear{path: path, off: off, zero: s.fault == nil}, nil
}

// bodyIsRight says that a record begins after the header at the beginning of b whose checksum continues crc,
// whatever the header says.
func bodyIsRight(b []byte, crc uint32) bool {
	if len(b) < frameHeaderBytes {
		return false
	}
	b = b[frameHeaderBytes:]
	var fields [2]uint64 // type and checksum
	for i := range fields {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || int(num) != i+1 || typ != protowire.VarintType {
			return false
		}
		b = b[n:]
		if fields[i], n = protowire.ConsumeVarint(b); n < 0 {
			return false
		}
		b = b[n:]
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != 3 || typ != protowire.BytesType {
		return false
	}
	data, n := protowire.ConsumeBytes(b[n:])
	return n >= 0 && crc32.Update(crc, castagnoli, data) == uint32(fields[1])
}

// sectorRest returns the bytes from off to the end of its sector, of at most n.
func sectorRest(off int64, n int) int {
	return min(n, sectorBytes-int(off%sectorBytes))
}

// lacksSector says that the frame at off reaches beyond the file or has a sector of which nothing was written.
func lacksSector(b []byte, off int64) bool {
	rest := b[off:]
	if len(rest) < frameHeaderBytes {
		return true
	}
	length, padding := frameExtent(binary.LittleEndian.Uint64(rest))
	if length > int64(len(rest))-frameHeaderBytes-padding {
		return true
	}
	rest = rest[frameHeaderBytes : frameHeaderBytes+length+padding]
	for at := off + frameHeaderBytes; len(rest) > 0; {
		n := sectorRest(at, len(rest))
		if isZero(rest[:n]) {
			return true
		}
		at, rest = at+int64(n), rest[n:]
	}
	return false
}

// committedAfter returns the highest commit index of the states in b from off on, wherever records begin. Only
// records that continue each other's checksums count.
func committedAfter(b []byte, off int64) uint64 {
	var commit uint64
	for off < int64(len(b)) {
		r, end, err := frameAt(b, off)
		if err != nil || end == 0 || !continues(b, end, r) {
			off += frameHeaderBytes
			continue
		}
		// r itself is vouched for by the next only as far as its checksum goes; the next is certain.
		for end != 0 {
			next, nextEnd, err := frameAt(b, end)
			if err != nil || nextEnd == 0 || next.kind != recordCRC && crc32.Update(r.crc, castagnoli, next.data) != next.crc {
				break
			}
			if next.kind == recordState {
				commit = max(commit, stateCommit(next.data))
			}
			r, end = next, nextEnd
		}
		off = end
	}
	return commit
}

// continues says that the record at off continues the checksum of r.
func continues(b []byte, off int64, r record) bool {
	next, end, err := frameAt(b, off)
	return err == nil && end != 0 && next.kind != recordCRC && crc32.Update(r.crc, castagnoli, next.data) == next.crc
}

// stateCommit reads the commit index out of an encoded state; 0 if there is none.
func stateCommit(b []byte) uint64 {
	var s raftpb.HardState
	if proto.Unmarshal(b, &s) != nil {
		return 0
	}
	return s.GetCommit()
}

// entryIndex reads the index out of an encoded entry; 0 if there is none.
func entryIndex(b []byte) uint64 {
	var e raftpb.Entry
	if proto.Unmarshal(b, &e) != nil {
		return 0
	}
	return e.GetIndex()
}

// cutTail cuts a torn end off and keeps the file as it was beside it. Whoever else has the log open keeps it from that.
func (w *WAL) cutTail(t *tear) error {
	f, err := fileutil.TryLockFile(t.path, os.O_RDWR, fileutil.PrivateFileMode)
	if err != nil {
		return w.openError(err)
	}
	if !t.zero { // else opening the log clears the rest
		err = cut(f.File, t)
	}
	w.log.Warn("dropped the torn end of the write-ahead log, which was never acknowledged",
		zap.String("path", t.path), zap.Int64("offset", t.off), zap.Error(err))
	return errors.Join(err, f.Close())
}

func cut(f *os.File, t *tear) error {
	keep, err := os.OpenFile(t.path+".broken", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileutil.PrivateFileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(keep, f)
	if err := errors.Join(err, keep.Close()); err != nil {
		return err
	}
	if err := f.Truncate(t.off); err != nil {
		return err
	}
	return f.Sync()
}
