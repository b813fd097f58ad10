// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"google.golang.org/grpc/mem"

	"keelson.io/keelson/etcdapi/codec"
)

// countingCodec is codec.Codec that counts the bytes of messages.
type countingCodec struct {
	codec.Codec
	metrics *serverMetrics
}

// Marshal implements encoding.CodecV2.
func (c countingCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := c.Codec.Marshal(v)
	c.metrics.ClientSentBytes.Add(float64(data.Len()))
	return data, err
}

// Unmarshal implements encoding.CodecV2.
func (c countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	c.metrics.ClientReceivedBytes.Add(float64(data.Len()))
	return c.Codec.Unmarshal(data, v)
}
