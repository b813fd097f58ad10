// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/wire"
)

var errSize = errors.New("codec: message changed while it was marshaled")

// Codec encodes and decodes every message of a server. It has no state; the zero value is ready.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

// Name is that of grpc's protobuf codec: clients must not see a difference.
func (Codec) Name() string { return "proto" }

// Marshal encodes a response of package wire, or any other protobuf message. A response too large
// for a pooled buffer refers to its long key-values and events until it is sent, instead of copying
// them.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *wire.WatchResponse:
		if !utf8.ValidString(m.CancelReason) {
			return nil, wire.ErrInvalidUTF8
		}
		return marshalWire(m), nil
	case *wire.RangeResponse:
		if m.Sent != nil {
			return marshalHeld(m), nil
		}
		return marshalWire(m), nil
	case wire.Message:
		return marshalWire(m), nil
	case proto.Message:
		return marshalProto(m)
	}
	return nil, fmt.Errorf("codec: cannot marshal %T, want a protobuf message", v)
}

func marshalWire(m wire.Message) mem.BufferSlice {
	size := m.Size()
	switch {
	case size <= smallSize:
		small := new(smallBuffer)
		m.MarshalTo(small.bytes[:size])
		return small.one.slice(small.bytes[:size])
	case mem.IsBelowBufferPoolingThreshold(size):
		buf := make([]byte, size)
		m.MarshalTo(buf)
		return new(oneBuffer).slice(buf)
	case size > maxPooled && wire.Shareable(m) >= size/2:
		return bufferSlice(wire.Scatter(m))
	}
	buf := buffers.Get(size)
	m.MarshalTo(*buf)
	return mem.BufferSlice{mem.NewBuffer(buf, &buffers)}
}

// marshalHeld is marshalWire for a response that wants to know when it is not needed any
// more: when grpc lets go of the last of its buffers that is large enough to be pooled.
func marshalHeld(m *wire.RangeResponse) mem.BufferSlice {
	if size := m.Size(); size > maxPooled && wire.Shareable(m) >= size/2 {
		parts := wire.Scatter(m)
		list := bufferSlice(parts)
		for i := len(parts) - 1; i >= 0; i-- {
			if part := parts[i]; !mem.IsBelowBufferPoolingThreshold(cap(part)) {
				list[i] = mem.NewBuffer(&part, notifier{sent: m.Sent})
				return list
			}
		}
	}
	buf := buffers.Get(max(m.Size(), bufferSizes[0]))
	*buf = (*buf)[:m.Size()]
	m.MarshalTo(*buf)
	return mem.BufferSlice{mem.NewBuffer(buf, notifier{pool: &buffers, sent: m.Sent})}
}

func marshalProto(m proto.Message) (mem.BufferSlice, error) {
	size := proto.Size(m)
	options := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(size) {
		data, err := options.Marshal(m)
		if err != nil {
			return nil, err
		}
		return new(oneBuffer).slice(data), nil
	}
	buf := buffers.Get(size)
	data, err := options.MarshalAppend((*buf)[:0], m)
	if err == nil && len(data) != size {
		err = errSize // and the rest of the buffer may be another response's
	}
	if err != nil {
		buffers.Put(buf)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(buf, &buffers)}, nil
}

// Unmarshal decodes into a request of this package, which then owns its bytes, or into any other
// protobuf message.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case rawRequest:
		return m.unmarshal(data)
	case proto.Message:
		buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer buf.Free()
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("codec: cannot unmarshal into %T, want a protobuf message", v)
}
