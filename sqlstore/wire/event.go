// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of mvccpb.Event.
const (
	eventType   = 1
	eventKV     = 2
	eventPrevKV = 3
)

// SizeEvent returns the number of bytes that AppendEvent appends.
func SizeEvent(t mvccpb.Event_EventType, kv, prev []byte) int {
	return sizeInt64(int64(t)) + sizeMessage(kv) + sizeMessage(prev)
}

// AppendEvent appends the encoding of an mvccpb.Event, as proto.Marshal gives it, from encoded
// KeyValues. A nil KeyValue is left out; an empty one is there and empty.
func AppendEvent(dst []byte, t mvccpb.Event_EventType, kv, prev []byte) []byte {
	dst = slices.Grow(dst, SizeEvent(t, kv, prev))
	dst = appendInt64(dst, eventType, int64(t))
	dst = appendMessage(dst, eventKV, kv)
	return appendMessage(dst, eventPrevKV, prev)
}

func sizeMessage(m []byte) int {
	if m == nil {
		return 0
	}
	return 1 + protowire.SizeBytes(len(m))
}

func appendMessage(dst []byte, field byte, m []byte) []byte {
	if m == nil {
		return dst
	}
	dst = append(dst, field<<3|lenType)
	dst = protowire.AppendVarint(dst, uint64(len(m)))
	return append(dst, m...)
}
