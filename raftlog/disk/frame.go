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
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return r, errMalformed
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.VarintType:
			r.kind, n = protowire.ConsumeVarint(b)
		case num == 2 && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			r.crc = uint32(v)
		case num == 3 && typ == protowire.BytesType:
			r.data, n = protowire.ConsumeBytes(b)
		default:
			n = -1
		}
		if n < 0 {
			return r, errMalformed
		}
		b = b[n:]
	}
	if r.kind < recordMetadata || r.kind > recordSnapshot {
		return r, errMalformed
	}
	return r, nil
}

// frameExtent decodes a frame's header into the length of its record and of its padding.
func frameExtent(header uint64) (record, padding int64) {
	record = int64(header &^ (0xff << 56))
	if int64(header) < 0 {
		padding = int64(header>>56) & 7
	}
	return record, padding
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
	if length > int64(len(rest))-frameHeaderBytes-padding {
		return r, 0, errors.New("record longer than the file")
	}
	if length == 0 {
		return r, 0, errors.New("record without content")
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
