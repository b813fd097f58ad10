// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "slices"

// MinShared is the least length in bytes of an encoded key-value or event that Scatter does not
// copy. Below, a copy costs less than keeping track of one more part.
const MinShared = 1024

// Message is a response of this package. Size walks over it once, MarshalTo once more; neither
// allocates.
type Message interface {
	// Size returns the encoding's length in bytes.
	Size() int
	// MarshalTo writes the encoding into buf, which must be exactly Size() bytes long. It panics
	// if the message does not fit.
	MarshalTo(buf []byte)
	// AppendTo appends the encoding to dst.
	AppendTo(dst []byte) []byte

	// encode writes the message's fields.
	encode(w *backward)
	// lists calls visit for every list of encoded messages in the message.
	lists(visit func(messages [][]byte))
}

// Shareable returns how many of the encoding's bytes Scatter would not copy.
func Shareable(m Message) int {
	_, bytes := shareable(m)
	return bytes
}

// shareable returns number and length of the encoded messages that Scatter would not copy.
func shareable(m Message) (count, bytes int) {
	m.lists(func(messages [][]byte) {
		for _, data := range messages {
			if len(data) >= MinShared {
				count++
				bytes += len(data)
			}
		}
	})
	return count, bytes
}

// Scatter returns the encoding in parts that follow each other. Key-values and events of at least
// MinShared bytes are parts as they are; what lies between them is allocated for the purpose.
func Scatter(m Message) [][]byte {
	count, bytes := shareable(m)
	own := m.Size() - bytes
	parts := 2*count + 1 // at most: each shared one has something before it, and one is the end
	w := backward{buf: make([]byte, own), pos: own, cut: own, parts: make([][]byte, parts), free: parts}
	m.encode(&w)
	w.flush()
	w.finish()
	return w.parts[w.free:]
}

func appendTo(dst []byte, m Message) []byte {
	n, size := len(dst), m.Size()
	dst = slices.Grow(dst, size)[:n+size]
	m.MarshalTo(dst[n:])
	return dst
}

// MarshalTo implements Message.
func (m *RangeResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.rangeResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *RangeResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *RangeResponse) encode(w *backward) { w.rangeResponse(m) }

// MarshalTo implements Message.
func (m *PutResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.putResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *PutResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *PutResponse) encode(w *backward) { w.putResponse(m) }

// MarshalTo implements Message.
func (m *DeleteRangeResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.deleteRangeResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *DeleteRangeResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *DeleteRangeResponse) encode(w *backward) { w.deleteRangeResponse(m) }

// MarshalTo implements Message.
func (m *TxnResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.txnResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *TxnResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *TxnResponse) encode(w *backward) { w.txnResponse(m) }

// MarshalTo implements Message.
func (m *RangeStreamResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.rangeStreamResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *RangeStreamResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *RangeStreamResponse) encode(w *backward) { w.rangeStreamResponse(m) }

// MarshalTo implements Message.
func (m *WatchResponse) MarshalTo(buf []byte) {
	w := backward{buf: buf, pos: len(buf)}
	w.watchResponse(m)
	w.finish()
}

// AppendTo implements Message.
func (m *WatchResponse) AppendTo(dst []byte) []byte { return appendTo(dst, m) }

func (m *WatchResponse) encode(w *backward) { w.watchResponse(m) }

func (m *RangeResponse) lists(visit func([][]byte))       { visit(m.KVs) }
func (m *PutResponse) lists(visit func([][]byte))         { visit([][]byte{m.PrevKV}) }
func (m *DeleteRangeResponse) lists(visit func([][]byte)) { visit(m.PrevKVs) }
func (m *RangeStreamResponse) lists(visit func([][]byte)) { visit(m.Range.KVs) }
func (m *WatchResponse) lists(visit func([][]byte))       { visit(m.Events) }

func (m *TxnResponse) lists(visit func([][]byte)) {
	for i := range m.Responses {
		switch op := &m.Responses[i]; {
		case op.Range != nil:
			op.Range.lists(visit)
		case op.Put != nil:
			op.Put.lists(visit)
		case op.DeleteRange != nil:
			op.DeleteRange.lists(visit)
		case op.Txn != nil:
			op.Txn.lists(visit)
		}
	}
}
