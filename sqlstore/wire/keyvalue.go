// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// KeyValue is a decoded mvccpb.KeyValue. Lease is 0 if none is attached.
type KeyValue struct {
	Key, Value                                  []byte
	CreateRevision, ModRevision, Version, Lease int64
}

// Field numbers of mvccpb.KeyValue.
const (
	kvKey            = 1
	kvCreateRevision = 2
	kvModRevision    = 3
	kvVersion        = 4
	kvValue          = 5
	kvLease          = 6
)

// SizeKeyValue returns the number of bytes that AppendKeyValue appends.
func SizeKeyValue(kv KeyValue) int {
	return sizeBytes(kv.Key) + sizeInt64(kv.CreateRevision) + sizeInt64(kv.ModRevision) +
		sizeInt64(kv.Version) + sizeBytes(kv.Value) + sizeInt64(kv.Lease)
}

// AppendKeyValue appends the encoding of mvccpb.KeyValue, as proto.Marshal gives it.
func AppendKeyValue(dst []byte, kv KeyValue) []byte {
	dst = slices.Grow(dst, SizeKeyValue(kv))
	dst = appendBytes(dst, kvKey, kv.Key)
	dst = appendInt64(dst, kvCreateRevision, kv.CreateRevision)
	dst = appendInt64(dst, kvModRevision, kv.ModRevision)
	dst = appendInt64(dst, kvVersion, kv.Version)
	dst = appendBytes(dst, kvValue, kv.Value)
	return appendInt64(dst, kvLease, kv.Lease)
}

// ParseKeyValue decodes an mvccpb.KeyValue. Key and value are views into data, nil if empty.
func ParseKeyValue(data []byte) (KeyValue, error) {
	var kv KeyValue
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case kvKey<<3 | lenType:
			kv.Key = c.bytes()
		case kvCreateRevision<<3 | varintType:
			kv.CreateRevision = c.int64()
		case kvModRevision<<3 | varintType:
			kv.ModRevision = c.int64()
		case kvVersion<<3 | varintType:
			kv.Version = c.int64()
		case kvValue<<3 | lenType:
			kv.Value = c.bytes()
		case kvLease<<3 | varintType:
			kv.Lease = c.int64()
		default:
			c.skip(tag)
		}
	}
	return kv, c.err
}

// StripValue returns an encoded mvccpb.KeyValue without its value, as a range with keys_only
// answers. It returns data itself if there is no value in it.
func StripValue(data []byte) []byte {
	start, end := valueField(data)
	if start == end {
		return data
	}
	return append(append(make([]byte, 0, len(data)-(end-start)), data[:start]...), data[end:]...)
}

// valueField returns where the value lies, with its tag, in the encoding of an mvccpb.KeyValue;
// an empty span if it has none or the encoding is malformed. AppendKeyValue writes one value only,
// and so the first is all there is.
func valueField(data []byte) (start, end int) {
	c := cursor{buf: data}
	for start = c.pos; ; start = c.pos {
		tag := c.next()
		if tag == 0 {
			return 0, 0
		}
		c.skip(tag)
		if tag == kvValue<<3|lenType && c.err == nil {
			return start, c.pos
		}
	}
}

// The helpers below leave a zero field out, as proto3 does, and expect field numbers below 16,
// whose tags take one byte.

func sizeBytes(v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(len(v))
}

func sizeInt64(v int64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(v))
}

func appendBytes(dst []byte, field byte, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = append(dst, field<<3|lenType)
	dst = protowire.AppendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendInt64(dst []byte, field byte, v int64) []byte {
	if v == 0 {
		return dst
	}
	dst = append(dst, field<<3|varintType)
	return protowire.AppendVarint(dst, uint64(v))
}
