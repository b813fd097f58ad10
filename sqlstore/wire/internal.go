// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Kind says which request an entry carries. Its value is the request's field number in etcd's
// InternalRaftRequest.
type Kind uint16

// The requests that keelson proposes.
const (
	KindPut                  Kind = 4
	KindDeleteRange          Kind = 5
	KindTxn                  Kind = 6
	KindCompaction           Kind = 7
	KindLeaseGrant           Kind = 8
	KindLeaseRevoke          Kind = 9
	KindAlarm                Kind = 10
	KindLeaseCheckpoint      Kind = 11
	KindClusterVersionSet    Kind = 1300
	KindClusterMemberAttrSet Kind = 1301
	KindDowngradeInfoSet     Kind = 1302
)

const headerField = 100 // InternalRaftRequest.header

// The room, in bytes, that an entry takes before and after its request (see WrapInternal): a tag of
// one or two bytes and the request's length; the header's tag, length, and the id with its tag.
const (
	EntryHeadroom = 2 + 5
	EntryTailroom = 2 + 1 + 1 + 10
)

// AppendInternal appends the entry that proposes a request: an InternalRaftRequest with
// Header{ID: id} around raw, the bytes of the request message that k names, as they came from the
// client. If raw is in canonical form, so is the entry: it equals what proto.Marshal gives.
func AppendInternal(dst []byte, id uint64, k Kind, raw []byte) []byte {
	dst = slices.Grow(dst, EntryHeadroom+len(raw)+EntryTailroom)
	if k > headerField {
		dst = appendEntryHeader(dst, id)
	}
	dst = protowire.AppendTag(dst, protowire.Number(k), protowire.BytesType)
	dst = protowire.AppendBytes(dst, raw)
	if k < headerField {
		dst = appendEntryHeader(dst, id)
	}
	return dst
}

// WrapInternal is AppendInternal for a request that already lies where its entry will: buf is
// EntryHeadroom bytes, the request, and EntryTailroom bytes. The entry is a view into buf; the
// request's bytes stay as they are. It is for the kinds whose field number is less than 16.
func WrapInternal(buf []byte, id uint64, k Kind) []byte {
	// The headroom has one byte for the tag: a longer one would overwrite the request.
	if k >= 16 {
		panic("wire: kind's tag takes more than a byte")
	}
	end := len(buf) - EntryTailroom
	size := uint64(end - EntryHeadroom)
	start := EntryHeadroom - 1 - protowire.SizeVarint(size)
	buf[start] = byte(k)<<3 | lenType
	binary.PutUvarint(buf[start+1:], size)
	return appendEntryHeader(buf[start:end], id)
}

func appendEntryHeader(dst []byte, id uint64) []byte {
	dst = protowire.AppendTag(dst, headerField, protowire.BytesType)
	if id == 0 {
		return append(dst, 0)
	}
	dst = append(dst, byte(1+protowire.SizeVarint(id)), 1<<3|varintType)
	return protowire.AppendVarint(dst, id)
}

// UnmarshalInternal decodes an entry's payload into r, whose former content is dropped. The bytes
// fields of key-value requests alias data. A payload with any other field than a header, an id
// and a key-value, compaction or lease request is left to proto.Unmarshal.
func UnmarshalInternal(data []byte, r *pb.InternalRaftRequest) error {
	r.Reset()
	d := entryDecoder{cursor: cursor{buf: data}, entry: r}
	for tag := d.next(); tag != 0; tag = d.next() {
		if !d.merge(tag) {
			return proto.Unmarshal(data, r)
		}
	}
	return d.err
}

type entryDecoder struct {
	cursor
	entry *pb.InternalRaftRequest
	spare *pb.RequestHeader // allocated with the request, not yet in use
}

// merge decodes the field with this tag. False: it is none of the hot ones.
func (d *entryDecoder) merge(tag uint64) bool {
	r := d.entry
	switch tag {
	case headerField<<3 | lenType:
		r.Header = d.header()
		d.fail(mergeRequestHeader(d.view(), r.Header))
	case 1<<3 | varintType:
		r.ID = d.varint()
	case uint64(KindPut)<<3 | lenType:
		r.Put = request(d, r.Put)
		d.fail(mergePut(d.view(), r.Put))
	case uint64(KindDeleteRange)<<3 | lenType:
		r.DeleteRange = request(d, r.DeleteRange)
		d.fail(mergeDeleteRange(d.view(), r.DeleteRange))
	case uint64(KindTxn)<<3 | lenType:
		r.Txn = request(d, r.Txn)
		d.fail(mergeTxn(d.view(), r.Txn, maxEntryDepth-1))
	case uint64(KindCompaction)<<3 | lenType:
		r.Compaction = request(d, r.Compaction)
		d.fail(mergeCompaction(d.view(), r.Compaction))
	case uint64(KindLeaseGrant)<<3 | lenType:
		r.LeaseGrant = request(d, r.LeaseGrant)
		d.fail(mergeLeaseGrant(d.view(), r.LeaseGrant))
	case uint64(KindLeaseRevoke)<<3 | lenType:
		r.LeaseRevoke = request(d, r.LeaseRevoke)
		d.fail(mergeLeaseRevoke(d.view(), r.LeaseRevoke))
	case uint64(KindLeaseCheckpoint)<<3 | lenType:
		r.LeaseCheckpoint = request(d, r.LeaseCheckpoint)
		d.fail(mergeLeaseCheckpoints(d.view(), r.LeaseCheckpoint))
	default:
		return false
	}
	return true
}

// request returns the entry's request of one kind, a new one if there is none yet. A new one comes
// with room for the header, which follows it in the order of field numbers.
func request[T any](d *entryDecoder, existing *T) *T {
	if existing != nil {
		return existing
	}
	a := new(struct {
		request T
		header  pb.RequestHeader
	})
	d.spare = &a.header
	return &a.request
}

func (d *entryDecoder) header() *pb.RequestHeader {
	switch {
	case d.entry.Header != nil:
		return d.entry.Header
	case d.spare != nil:
		return d.spare
	}
	return new(pb.RequestHeader)
}

func mergeRequestHeader(data []byte, m *pb.RequestHeader) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.ID = c.varint()
		case 2<<3 | lenType:
			name := c.view()
			if !utf8.Valid(name) {
				return ErrInvalidUTF8
			}
			m.Username = string(name)
		case 3<<3 | varintType:
			m.AuthRevision = c.varint()
		default:
			c.skip(tag)
		}
	}
	return c.err
}
