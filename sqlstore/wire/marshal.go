// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// backward fills a buffer from its end to its start. So a message's length is known when its
// prefix is due, at every level of nesting, and nothing has to be measured twice or remembered.
// Fields are written in descending order of their numbers.
type backward struct {
	buf []byte
	pos int // everything from here on is written
}

func (w *backward) varint(v uint64) {
	if v < 0x80 {
		w.pos--
		w.buf[w.pos] = byte(v)
		return
	}
	w.pos -= protowire.SizeVarint(v)
	binary.PutUvarint(w.buf[w.pos:], v)
}

func (w *backward) byte(b byte) {
	w.pos--
	w.buf[w.pos] = b
}

// int64 writes a field, unless it is zero.
func (w *backward) int64(field byte, v int64) {
	if v != 0 {
		w.varint(uint64(v))
		w.byte(field<<3 | varintType)
	}
}

// bool writes a field, unless it is false.
func (w *backward) bool(field byte, v bool) {
	if v {
		w.byte(1)
		w.byte(field<<3 | varintType)
	}
}

// message writes an encoded message as a field.
func (w *backward) message(field byte, m []byte) {
	w.pos -= len(m)
	copy(w.buf[w.pos:], m)
	w.varint(uint64(len(m)))
	w.byte(field<<3 | lenType)
}

// list writes encoded messages as a repeated field.
func (w *backward) list(field byte, messages [][]byte) {
	for i := len(messages) - 1; i >= 0; i-- {
		w.message(field, messages[i])
	}
}

// close turns what was written since the position was end into a message field.
func (w *backward) close(field byte, end int) {
	w.varint(uint64(end - w.pos))
	w.byte(field<<3 | lenType)
}

func (w *backward) header(h *Header) {
	end := w.pos
	w.int64(4, int64(h.RaftTerm))
	w.int64(3, h.Revision)
	w.int64(2, int64(h.MemberID))
	w.int64(1, int64(h.ClusterID))
	w.close(1, end)
}

func (w *backward) rangeResponse(m *RangeResponse) {
	w.rangeWithoutHeader(m)
	w.header(&m.Header)
}

func (w *backward) rangeWithoutHeader(m *RangeResponse) {
	w.int64(4, m.Count)
	w.bool(3, m.More)
	w.list(2, m.KVs)
}

func (w *backward) putResponse(m *PutResponse) {
	if m.PrevKV != nil {
		w.message(2, m.PrevKV)
	}
	w.header(&m.Header)
}

func (w *backward) deleteRangeResponse(m *DeleteRangeResponse) {
	w.list(3, m.PrevKVs)
	w.int64(2, m.Deleted)
	w.header(&m.Header)
}

func (w *backward) txnResponse(m *TxnResponse) {
	for i := len(m.Responses) - 1; i >= 0; i-- {
		end := w.pos
		w.responseOp(&m.Responses[i])
		w.close(3, end)
	}
	w.bool(2, m.Succeeded)
	w.header(&m.Header)
}

func (w *backward) responseOp(m *ResponseOp) {
	end := w.pos
	switch {
	case m.Range != nil:
		w.rangeResponse(m.Range)
		w.close(1, end)
	case m.Put != nil:
		w.putResponse(m.Put)
		w.close(2, end)
	case m.DeleteRange != nil:
		w.deleteRangeResponse(m.DeleteRange)
		w.close(3, end)
	case m.Txn != nil:
		w.txnResponse(m.Txn)
		w.close(4, end)
	}
}

// finish checks that the message filled its buffer: anything else is a Size that disagrees with
// what was written, or a message that changed in between.
func (w *backward) finish() {
	if w.pos != 0 {
		panic("wire: message does not fill its buffer")
	}
}

// MarshalTo implements Message.
func (m *RangeResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.rangeResponse(m)
	w.finish()
}

// MarshalTo implements Message.
func (m *PutResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.putResponse(m)
	w.finish()
}

// MarshalTo implements Message.
func (m *DeleteRangeResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.deleteRangeResponse(m)
	w.finish()
}

// MarshalTo implements Message.
func (m *TxnResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.txnResponse(m)
	w.finish()
}

// MarshalTo implements Message.
func (m *RangeStreamResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.rangeWithoutHeader(&m.Range)
	if m.HasHeader {
		w.header(&m.Range.Header)
	}
	w.close(1, len(buf))
	w.finish()
}

// MarshalTo implements Message.
func (m *WatchResponse) MarshalTo(buf []byte) {
	w := backward{buf, len(buf)}
	w.list(11, m.Events)
	w.bool(7, m.Fragment)
	if m.CancelReason != "" {
		w.pos -= len(m.CancelReason)
		copy(w.buf[w.pos:], m.CancelReason)
		w.varint(uint64(len(m.CancelReason)))
		w.byte(6<<3 | lenType)
	}
	w.int64(5, m.CompactRevision)
	w.bool(4, m.Canceled)
	w.bool(3, m.Created)
	w.int64(2, m.WatchID)
	w.header(&m.Header)
	w.finish()
}
