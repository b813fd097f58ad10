// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
)

// A segment is a sequence of frames: 8 bytes that give the length of a record and of the padding that makes the
// frame a multiple of 8 bytes long, the record, the padding. A record (walpb.Record) has a type, data, and the
// CRC-32C of all data of the log so far. A zero length ends the segment: the rest is preallocated space.

const (
	frameHeaderBytes = 8
	// sectorBytes is the unit in which a disk writes all or nothing.
	sectorBytes = 512
)

// Types of records, as the wal package has them.
const (
	recordMetadata = iota + 1
	recordEntry
	recordState
	recordCRC
	recordSnapshot
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record struct {
	kind uint64
	crc  uint32
	data []byte
}

var errMalformed = errors.New("malformed record")

// parseRecord reads a record. Fields that the wal package doesn't know make it malformed: it never writes any.
func parseRecord(b []byte) (record, error) {
	var r record
	ok := eachField(b, func(num protowire.Number, v uint64, data []byte) bool {
		switch {
		case num == 1 && data == nil:
			r.kind = v
		case num == 2 && data == nil:
			r.crc = uint32(v)
		case num == 3 && data != nil:
			r.data = data
		default:
			return false
		}
		return true
	})
	if !ok || r.kind < recordMetadata || r.kind > recordSnapshot {
		return r, errMalformed
	}
	return r, nil
}

// entryHead is what an entry says of itself. Terms and indexes of entries begin at 1.
type entryHead struct{ kind, term, index uint64 }

// parseEntryHead reads an encoded raftpb.Entry but for its data. It fails if that isn't one that is in a log of
// etcd's: only a normal entry may lack data. (raft's change that leaves a joint configuration does, but there are
// none of those; a state with its type damaged looks like one.)
func parseEntryHead(b []byte) (entryHead, bool) {
	var e entryHead
	var hasData bool
	ok := eachField(b, func(num protowire.Number, v uint64, data []byte) bool {
		switch {
		case num == 1 && data == nil:
			e.kind = v
		case num == 2 && data == nil:
			e.term = v
		case num == 3 && data == nil:
			e.index = v
		case num == 4 && data != nil:
			hasData = true
		default:
			return false
		}
		return true
	})
	const normal, confChangeV2 = 0, 2
	return e, ok && e.term > 0 && e.index > 0 && e.kind <= confChangeV2 && (hasData || e.kind == normal)
}

// stateHead is a raftpb.HardState.
type stateHead struct{ term, vote, commit uint64 }

// parseState reads an encoded raftpb.HardState. It fails if that isn't one that raft makes.
func parseState(b []byte) (stateHead, bool) {
	var s stateHead
	ok := eachField(b, func(num protowire.Number, v uint64, data []byte) bool {
		switch {
		case num == 1 && data == nil:
			s.term = v
		case num == 2 && data == nil:
			s.vote = v
		case num == 3 && data == nil:
			s.commit = v
		default:
			return false
		}
		return true
	})
	return s, ok && s.term > 0
}

// eachField calls fn for the fields of an encoded message, which are varints or bytes (data not nil), until it
// returns false. It says whether it got to the end.
func eachField(b []byte, fn func(num protowire.Number, v uint64, data []byte) bool) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			if data, n = protowire.ConsumeBytes(b); data == nil {
				data = []byte{}
			}
		default:
			return false
		}
		if n < 0 || !fn(num, v, data) {
			return false
		}
		b = b[n:]
	}
	return true
}

// frameExtent decodes a frame's header into the length of its record and of its padding.
func frameExtent(header uint64) (record, padding int64) {
	record = int64(header &^ (0xff << 56))
	if int64(header) < 0 {
		padding = int64(header>>56) & 7
	}
	return record, padding
}

// frameHeader encodes the length of a record.
func frameHeader(length int64) uint64 {
	header := uint64(length)
	if padding := (8 - header%8) % 8; padding != 0 {
		header |= (0x80 | padding) << 56
	}
	return header
}

// frameAt reads the frame at off. end is where the next one begins; 0 with a nil error: the segment ends at off.
func frameAt(b []byte, off int64) (r record, end int64, err error) {
	rest := b[off:]
	if len(rest) < frameHeaderBytes {
		if len(rest) == 0 {
			return r, 0, nil
		}
		return r, 0, errors.New("incomplete length")
	}
	header := binary.LittleEndian.Uint64(rest)
	if header == 0 {
		return r, 0, nil
	}
	length, padding := frameExtent(header)
	if header != frameHeader(length) {
		return r, 0, errors.New("length without the padding it needs")
	}
	if length > int64(len(rest))-frameHeaderBytes-padding {
		return r, 0, errors.New("record longer than the file")
	}
	r, err = parseRecord(rest[frameHeaderBytes : frameHeaderBytes+length])
	return r, off + frameHeaderBytes + length + padding, err
}

// isZero says that b has no bit set.
func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
