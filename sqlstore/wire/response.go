// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "google.golang.org/protobuf/encoding/protowire"

// Header is a ResponseHeader. It is a part of every response, even if it is all zero.
type Header struct {
	ClusterID, MemberID uint64
	Revision            int64
	RaftTerm            uint64
}

// RangeResponse is etcd's RangeResponse. KVs are encoded mvccpb.KeyValues.
type RangeResponse struct {
	Header Header
	KVs    [][]byte
	More   bool
	Count  int64
	// Sent, if it is not nil, is to be called when the encoded response is not needed
	// any more. It is not part of the encoding.
	Sent func()
}

// PutResponse is etcd's PutResponse. PrevKV is an encoded mvccpb.KeyValue, nil for none.
type PutResponse struct {
	Header Header
	PrevKV []byte
}

// DeleteRangeResponse is etcd's DeleteRangeResponse. PrevKVs are encoded mvccpb.KeyValues.
type DeleteRangeResponse struct {
	Header  Header
	Deleted int64
	PrevKVs [][]byte
}

// TxnResponse is etcd's TxnResponse.
type TxnResponse struct {
	Header    Header
	Succeeded bool
	Responses []ResponseOp
}

// ResponseOp is one operation's response. Exactly one field is set; with none it is encoded as
// an empty message, which is what etcd answers to an empty operation in a log.
type ResponseOp struct {
	Range       *RangeResponse
	Put         *PutResponse
	DeleteRange *DeleteRangeResponse
	Txn         *TxnResponse
}

// RangeStreamResponse is one chunk of a RangeStream. etcd sets header, more and count on the last
// chunk only: the header's revision is the one that the stream began with, and count is that of
// the whole range. The chunks before carry nothing but key-values.
type RangeStreamResponse struct {
	Range RangeResponse
	// HasHeader says whether Range.Header is a part of the chunk.
	HasHeader bool
}

// WatchResponse is etcd's WatchResponse. Events are encoded mvccpb.Events; CancelReason must be
// valid UTF-8.
type WatchResponse struct {
	Header                      Header
	WatchID                     int64
	Created, Canceled, Fragment bool
	CompactRevision             int64
	CancelReason                string
	Events                      [][]byte
}

func (h *Header) size() int {
	return sizeInt64(int64(h.ClusterID)) + sizeInt64(int64(h.MemberID)) + sizeInt64(h.Revision) +
		sizeInt64(int64(h.RaftTerm))
}

// field returns the size of the header as a message's field 1. A header takes 44 bytes at most.
func (h *Header) field() int { return 2 + h.size() }

// Size implements Message.
func (m *RangeResponse) Size() int {
	return m.Header.field() + m.sizeWithoutHeader()
}

func (m *RangeResponse) sizeWithoutHeader() int {
	return sizeList(m.KVs) + sizeBool(m.More) + sizeInt64(m.Count)
}

// Size implements Message.
func (m *PutResponse) Size() int {
	return m.Header.field() + sizeMessage(m.PrevKV)
}

// Size implements Message.
func (m *DeleteRangeResponse) Size() int {
	return m.Header.field() + sizeInt64(m.Deleted) + sizeList(m.PrevKVs)
}

// Size implements Message.
func (m *TxnResponse) Size() int {
	n := m.Header.field() + sizeBool(m.Succeeded)
	for i := range m.Responses {
		n += 1 + protowire.SizeBytes(m.Responses[i].size())
	}
	return n
}

func (m *ResponseOp) size() int {
	var n int
	switch {
	case m.Range != nil:
		n = m.Range.Size()
	case m.Put != nil:
		n = m.Put.Size()
	case m.DeleteRange != nil:
		n = m.DeleteRange.Size()
	case m.Txn != nil:
		n = m.Txn.Size()
	default:
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

// Size implements Message.
func (m *RangeStreamResponse) Size() int {
	n := m.Range.sizeWithoutHeader()
	if m.HasHeader {
		n += m.Range.Header.field()
	}
	return 1 + protowire.SizeBytes(n)
}

// Size implements Message.
func (m *WatchResponse) Size() int {
	return m.Header.field() + sizeInt64(m.WatchID) + sizeBool(m.Created) + sizeBool(m.Canceled) +
		sizeInt64(m.CompactRevision) + sizeString(m.CancelReason) + sizeBool(m.Fragment) + sizeList(m.Events)
}

func sizeList(messages [][]byte) int {
	n := len(messages) // a byte for each tag
	for _, m := range messages {
		n += protowire.SizeBytes(len(m))
	}
	return n
}

func sizeBool(v bool) int {
	if v {
		return 2
	}
	return 0
}

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s))
}
