// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"

	"keelson.io/keelson/sqlstore/wire"
)

// Range is a decoded RangeRequest with the bytes that it came as.
type Range struct {
	Raw []byte
	Msg pb.RangeRequest
}

// Put is a decoded PutRequest with the bytes that it came as.
type Put struct {
	Raw  []byte
	Msg  pb.PutRequest
	room []byte
}

// DeleteRange is a decoded DeleteRangeRequest with the bytes that it came as.
type DeleteRange struct {
	Raw  []byte
	Msg  pb.DeleteRangeRequest
	room []byte
}

// Txn is a decoded TxnRequest with the bytes that it came as.
type Txn struct {
	Raw  []byte
	Msg  pb.TxnRequest
	room []byte
}

// rawRequest is a request that keeps its bytes.
type rawRequest interface {
	// unmarshal decodes data after it has copied it.
	unmarshal(data mem.BufferSlice) error
}

func (r *Range) unmarshal(data mem.BufferSlice) error {
	r.Raw = data.Materialize()
	return wire.UnmarshalRange(r.Raw, &r.Msg)
}

func (r *Put) unmarshal(data mem.BufferSlice) error {
	r.Raw, r.room = withRoom(data)
	return wire.UnmarshalPut(r.Raw, &r.Msg)
}

func (r *DeleteRange) unmarshal(data mem.BufferSlice) error {
	r.Raw, r.room = withRoom(data)
	return wire.UnmarshalDeleteRange(r.Raw, &r.Msg)
}

func (r *Txn) unmarshal(data mem.BufferSlice) error {
	r.Raw, r.room = withRoom(data)
	return wire.UnmarshalTxn(r.Raw, &r.Msg)
}

// withRoom copies a request's bytes into a buffer with room around them, so that the entry that
// proposes them needs neither another buffer nor another copy.
func withRoom(data mem.BufferSlice) (raw, room []byte) {
	end := wire.EntryHeadroom + data.Len()
	room = make([]byte, end+wire.EntryTailroom)
	raw = room[wire.EntryHeadroom:end:end]
	data.CopyTo(raw)
	return raw, room
}

// Entry returns the raft entry that proposes the request as it came, under this header. It takes the
// place of wire.AppendInternal with Raw, and is built around Raw where that lies: a second call
// changes the first one's entry.
func (r *Put) Entry(h wire.EntryHeader) []byte { return entry(r.room, r.Raw, h, wire.KindPut) }

// Entry is Put.Entry for this request.
func (r *DeleteRange) Entry(h wire.EntryHeader) []byte {
	return entry(r.room, r.Raw, h, wire.KindDeleteRange)
}

// Entry is Put.Entry for this request.
func (r *Txn) Entry(h wire.EntryHeader) []byte { return entry(r.room, r.Raw, h, wire.KindTxn) }

func entry(room, raw []byte, h wire.EntryHeader, k wire.Kind) []byte {
	if room == nil { // made by hand, not by Unmarshal
		return wire.AppendInternal(nil, h, k, raw)
	}
	return wire.WrapInternal(room, h, k)
}
