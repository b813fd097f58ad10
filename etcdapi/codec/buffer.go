// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// smallSize is the length in bytes up to which a response shares one allocation with what grpc
// needs around it. A put's response takes some 40 bytes.
const smallSize = 88

// oneBuffer is a BufferSlice of one buffer that no pool wants back.
//
// A pointer to a SliceBuffer is a mem.Buffer as much as the SliceBuffer itself is; unlike that it
// becomes one without an allocation.
type oneBuffer struct {
	data mem.SliceBuffer
	list [1]mem.Buffer
}

func (b *oneBuffer) slice(data []byte) mem.BufferSlice {
	b.data = data
	b.list[0] = &b.data
	return b.list[:]
}

// smallBuffer is a short message with its BufferSlice.
type smallBuffer struct {
	one   oneBuffer
	bytes [smallSize]byte
}

func bufferSlice(parts [][]byte) mem.BufferSlice {
	list := make(mem.BufferSlice, len(parts))
	for i := range parts {
		list[i] = (*mem.SliceBuffer)(&parts[i])
	}
	return list
}

// buffers are those of all responses that are neither small nor sent in parts.
var buffers bufferPool

// bufferSizes are the capacities of pooled buffers, in bytes.
var bufferSizes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10, maxPooled}

// maxPooled is the length in bytes up to which responses lie in pooled buffers. Measured with values
// of 1 to 8 KiB: below, sending the parts where they are gains nothing over a copy into a buffer
// that stays in the processor's cache; a list of 20 MB takes a quarter less CPU without the copy.
const maxPooled = 1 << 20

// bufferPool pools buffers that come as they were left. Marshal writes every byte of a buffer, so
// there is no use in clearing it first, as grpc's own pool does: with a page of 500 objects that
// would be a third of the work. What lies unused is bounded by the garbage collector.
type bufferPool struct {
	tiers [len(bufferSizes)]sync.Pool
}

var _ mem.BufferPool = (*bufferPool)(nil)

// Get returns a buffer of this length. Its content is undefined.
func (p *bufferPool) Get(length int) *[]byte {
	for i, size := range bufferSizes {
		if length > size {
			continue
		}
		if buf, ok := p.tiers[i].Get().(*[]byte); ok {
			*buf = (*buf)[:length]
			return buf
		}
		buf := make([]byte, length, size)
		return &buf
	}
	buf := make([]byte, length)
	return &buf
}

// notifier is the pool of one buffer that is told when it is not needed any more.
type notifier struct {
	pool *bufferPool // nil: nobody wants it back
	sent func()
}

var _ mem.BufferPool = notifier{}

// Get is never called: the buffer was there before.
func (n notifier) Get(length int) *[]byte { return buffers.Get(length) }

// Put implements mem.BufferPool.
func (n notifier) Put(buf *[]byte) {
	n.sent()
	if n.pool != nil {
		n.pool.Put(buf)
	}
}

// Put takes a buffer back, if it is of a pooled capacity.
func (p *bufferPool) Put(buf *[]byte) {
	for i, size := range bufferSizes {
		if cap(*buf) == size {
			p.tiers[i].Put(buf)
			return
		}
	}
}
