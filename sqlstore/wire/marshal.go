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

	// With parts, encoded messages of at least MinShared bytes are not copied into buf but put
	// among the parts, from the last to the first.
	parts       [][]byte
	free        int // parts[free:] are in use
	cut         int // buf[cut:] is a part already, or several
	sharedBytes int // the length of all parts that are not in buf
}

// written returns the length of everything that was written up to now.
func (w *backward) written() int { return len(w.buf) - w.pos + w.sharedBytes }

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
	if w.parts != nil && len(m) >= MinShared {
		w.flush()
		w.part(m)
		w.sharedBytes += len(m)
	} else {
		w.pos -= len(m)
		copy(w.buf[w.pos:], m)
	}
	w.varint(uint64(len(m)))
	w.byte(field<<3 | lenType)
}

// flush makes a part of what was written into buf since the last one.
func (w *backward) flush() {
	if w.pos < w.cut {
		w.part(w.buf[w.pos:w.cut])
		w.cut = w.pos
	}
}

func (w *backward) part(data []byte) {
	w.free--
	w.parts[w.free] = data
}

// list writes encoded messages as a repeated field.
func (w *backward) list(field byte, messages [][]byte) {
	for i := len(messages) - 1; i >= 0; i-- {
		w.message(field, messages[i])
	}
}

// close turns into a message field what was written since written() returned mark.
func (w *backward) close(field byte, mark int) {
	w.varint(uint64(w.written() - mark))
	w.byte(field<<3 | lenType)
}

func (w *backward) header(h *Header) {
	mark := w.written()
	w.int64(4, int64(h.RaftTerm))
	w.int64(3, h.Revision)
	w.int64(2, int64(h.MemberID))
	w.int64(1, int64(h.ClusterID))
	w.close(1, mark)
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
		mark := w.written()
		w.responseOp(&m.Responses[i])
		w.close(3, mark)
	}
	w.bool(2, m.Succeeded)
	w.header(&m.Header)
}

func (w *backward) responseOp(m *ResponseOp) {
	mark := w.written()
	switch {
	case m.Range != nil:
		w.rangeResponse(m.Range)
		w.close(1, mark)
	case m.Put != nil:
		w.putResponse(m.Put)
		w.close(2, mark)
	case m.DeleteRange != nil:
		w.deleteRangeResponse(m.DeleteRange)
		w.close(3, mark)
	case m.Txn != nil:
		w.txnResponse(m.Txn)
		w.close(4, mark)
	}
}

func (w *backward) rangeStreamResponse(m *RangeStreamResponse) {
	mark := w.written()
	w.rangeWithoutHeader(&m.Range)
	if m.HasHeader {
		w.header(&m.Range.Header)
	}
	w.close(1, mark)
}

func (w *backward) watchResponse(m *WatchResponse) {
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
}

// finish checks that the message filled its buffer: anything else is a Size that disagrees with
// what was written, or a message that changed in between.
func (w *backward) finish() {
	// Sent as it is, the message would be misread without anybody's noticing.
	if w.pos != 0 {
		panic("wire: message does not fill its buffer")
	}
}
