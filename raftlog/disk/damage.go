// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
)

// The last segment may end in what a crash left of a write that was never synced, and so never acknowledged.
// It may also be damaged, in records that were. The first is cut off, the second must not be. What tells
// them apart:
//
//   - A disk writes whole sectors. A torn write lacks some: where they should be there are zeros, or the file
//     ends. A record that is wrong and lacks nothing is damaged.
//   - A record of which sectors are missing is not right but for its length or one bit. One that is, is damaged,
//     even if it holds long runs of zeros; unless that bit is all that its sector had.
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
	if s.whole {
		return corrupt(s.fault.Error())
	}
	if at, ok := oneBitOff(rest, s.end); ok && !isZero(sectorFrom(b, off, off+at)) {
		return corrupt("one bit or the length of a record is wrong")
	}
	// One stray bit where nothing was written yet hides nothing.
	if s.fault == nil && countBits(sectorFrom(b, off, off)) > 1 {
		return corrupt("length of a record is missing")
	}
	if s.fault != nil && !lacksSector(b, off) {
		return corrupt(s.fault.Error())
	}
	if committedAfter(b, off+frameHeaderBytes) > s.last.index {
		return corrupt("a record before committed ones is not whole")
	}
	return &tear{path: path, off: off, zero: s.fault == nil}, nil
}

// recordHeadBytes is enough for a frame's header and whatever comes before a record's data.
const recordHeadBytes = frameHeaderBytes + 24

// oneBitOff says that b begins with a frame that continues the checksum crc but for one bit, or but for its
// length, and where that is. b is changed meanwhile.
func oneBitOff(b []byte, crc uint32) (at int64, ok bool) {
	if bodyIsRight(b, crc) {
		data, _, _ := body(b)
		length := int64(cap(b)-cap(data)) + int64(len(data)) - frameHeaderBytes
		return 0, binary.LittleEndian.Uint64(b) != frameHeader(length) // else the file ends in its padding
	}
	for i := range min(len(b), recordHeadBytes) {
		for bit := byte(1); bit != 0; bit <<= 1 {
			b[i] ^= bit
			right := bodyIsRight(b, crc)
			b[i] ^= bit
			if right {
				return int64(i), true
			}
		}
	}
	data, want, ok := body(b)
	if !ok {
		return 0, false
	}
	i, ok := oneBitApart(data, crc32.Update(crc, castagnoli, data)^want)
	return int64(cap(b)-cap(data)) + i, ok
}

// oneBitApart says which byte of data to change in one bit to change its checksum by difference.
func oneBitApart(data []byte, difference uint32) (at int64, ok bool) {
	var effects [8]uint32 // of the bits of the byte looked at
	for bit := range effects {
		effects[bit] = castagnoli[1<<bit]
	}
	for i := int64(len(data)) - 1; i >= 0; i-- {
		for bit, e := range effects {
			if e == difference {
				return i, true
			}
			effects[bit] = castagnoli[byte(e)] ^ e>>8
		}
	}
	return 0, false
}

// bodyIsRight says that b begins with a frame whose record continues the checksum crc, whatever its header says.
func bodyIsRight(b []byte, crc uint32) bool {
	data, want, ok := body(b)
	return ok && crc32.Update(crc, castagnoli, data) == want
}

// body reads the record of the frame at the beginning of b by its own encoding, without the frame's header.
func body(b []byte) (data []byte, crc uint32, ok bool) {
	if len(b) < frameHeaderBytes {
		return nil, 0, false
	}
	b = b[frameHeaderBytes:]
	var fields [2]uint64 // type and checksum
	for i := range fields {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || int(num) != i+1 || typ != protowire.VarintType {
			return nil, 0, false
		}
		b = b[n:]
		if fields[i], n = protowire.ConsumeVarint(b); n < 0 {
			return nil, 0, false
		}
		b = b[n:]
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != 3 || typ != protowire.BytesType {
		return nil, 0, false
	}
	data, n = protowire.ConsumeBytes(b[n:])
	return data, uint32(fields[1]), n >= 0 && fields[0] >= recordMetadata && fields[0] <= recordSnapshot
}

// countBits returns the number of bits set in b.
func countBits(b []byte) int {
	n := 0
	for _, c := range b {
		n += bits.OnesCount8(c)
	}
	return n
}

// sectorFrom returns what the sector that holds at has from off on.
func sectorFrom(b []byte, off, at int64) []byte {
	begin := at - at%sectorBytes
	return b[max(begin, off):min(begin+sectorBytes, int64(len(b)))]
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
			if err != nil || nextEnd == 0 || crc32.Update(r.crc, castagnoli, next.data) != next.crc {
				break
			}
			if next.kind == recordState {
				if state, ok := parseState(next.data); ok {
					commit = max(commit, state.commit)
				}
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
	return err == nil && end != 0 && crc32.Update(r.crc, castagnoli, next.data) == next.crc
}

// cutTail cuts a torn end off and keeps the file as it was beside it.
func (w *WAL) cutTail(f *os.File, t *tear) error {
	w.log.Warn("dropping the torn end of the write-ahead log, which was never acknowledged",
		zap.String("path", t.path), zap.Int64("offset", t.off))
	if t.zero {
		return nil // opening the log clears the rest
	}
	if err := cut(f, t); err != nil {
		return fmt.Errorf("cut off the torn end of %s: %w", t.path, err)
	}
	return nil
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
