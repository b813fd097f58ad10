// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Protobuf's wire types, as they stand in a tag's low three bits.
const (
	varintType = 0
	lenType    = 2
)

var (
	// ErrMalformed says that the input is not the encoding of any protobuf message.
	ErrMalformed = errors.New("wire: malformed protobuf message")
	// ErrTooDeep says that messages nest deeper than MaxRequestDepth, or protobuf's bound in an entry.
	ErrTooDeep = errors.New("wire: protobuf messages nested too deep")
	// ErrInvalidUTF8 says that a string field holds something else.
	ErrInvalidUTF8 = errors.New("wire: string field is not valid UTF-8")
)

// cursor walks over the fields of one message. Its first error sticks and ends the walk, so
// decoders need to look at err only once, after the last field.
type cursor struct {
	buf []byte
	pos int
	err error
}

// next returns the next field's tag (number<<3 | wire type), or 0 at the end of the message or
// after an error.
func (c *cursor) next() uint64 {
	if c.pos >= len(c.buf) {
		return 0
	}
	tag := c.varint()
	if num := tag >> 3; num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		c.fail(ErrMalformed)
		return 0
	}
	return tag
}

// varint returns the varint at the cursor and moves behind it.
func (c *cursor) varint() uint64 {
	if c.pos < len(c.buf) {
		if b := c.buf[c.pos]; b < 0x80 {
			c.pos++
			return uint64(b)
		}
	}
	return c.longVarint()
}

func (c *cursor) longVarint() uint64 {
	v, n := protowire.ConsumeVarint(c.buf[c.pos:])
	if n < 0 {
		c.fail(ErrMalformed)
		return 0
	}
	c.pos += n
	return v
}

// view returns a length-prefixed field's content, never nil, as a view that cannot be appended to.
func (c *cursor) view() []byte {
	n := c.varint()
	if n > uint64(len(c.buf)-c.pos) {
		c.fail(ErrMalformed)
		return nil
	}
	start, end := c.pos, c.pos+int(n)
	c.pos = end
	return c.buf[start:end:end]
}

// bytes is view for a bytes field without presence, where protobuf makes no difference between
// empty and absent: both are nil.
func (c *cursor) bytes() []byte {
	if v := c.view(); len(v) > 0 {
		return v
	}
	return nil
}

func (c *cursor) int64() int64 { return int64(c.varint()) }
func (c *cursor) bool() bool   { return c.varint() != 0 }

// skip moves behind the value of a field that the caller does not know.
func (c *cursor) skip(tag uint64) {
	n := protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), c.buf[c.pos:])
	if n < 0 {
		c.fail(ErrMalformed)
		return
	}
	c.pos += n
}

// fail records the first error and moves to the end. A nil error changes nothing, so that a
// nested decoder's result can be passed on as it is.
func (c *cursor) fail(err error) {
	if err == nil || c.err != nil {
		return
	}
	c.err = err
	c.pos = len(c.buf)
}
