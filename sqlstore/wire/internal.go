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

	KindAuthEnable               Kind = 1000
	KindAuthDisable              Kind = 1011
	KindAuthenticate             Kind = 1012
	KindAuthStatus               Kind = 1013
	KindAuthUserAdd              Kind = 1100
	KindAuthUserDelete           Kind = 1101
	KindAuthUserGet              Kind = 1102
	KindAuthUserChangePassword   Kind = 1103
	KindAuthUserGrantRole        Kind = 1104
	KindAuthUserRevokeRole       Kind = 1105
	KindAuthUserList             Kind = 1106
	KindAuthRoleList             Kind = 1107
	KindAuthRoleAdd              Kind = 1200
	KindAuthRoleDelete           Kind = 1201
	KindAuthRoleGet              Kind = 1202
	KindAuthRoleGrantPermission  Kind = 1203
	KindAuthRoleRevokePermission Kind = 1204
)

const headerField = 100 // InternalRaftRequest.header

// The room, in bytes, that an entry takes before and after its request (see WrapInternal): a tag of
// one or two bytes and the request's length; the header's tag, length, and the id with its tag.
const (
	EntryHeadroom = 2 + 5
	EntryTailroom = 2 + 1 + 1 + 10
)

// EntryHeader is an entry's pb.RequestHeader: the request's id and, while authentication is enabled,
// who made it and at which revision of users and roles that was known.
type EntryHeader struct {
	ID           uint64
	Username     string // valid UTF-8
	AuthRevision uint64
}

// anonymous says that there is nothing in the header but the id.
func (h EntryHeader) anonymous() bool { return h.Username == "" && h.AuthRevision == 0 }

// AppendInternal appends the entry that proposes a request: an InternalRaftRequest with this
// header around raw, the bytes of the request message that k names, as they came from the
// client. If raw is in canonical form, so is the entry: it equals what proto.Marshal gives.
func AppendInternal(dst []byte, h EntryHeader, k Kind, raw []byte) []byte {
	dst = slices.Grow(dst, EntryHeadroom+len(raw)+EntryTailroom)
	if k > headerField {
		dst = appendEntryHeader(dst, h)
	}
	dst = protowire.AppendTag(dst, protowire.Number(k), protowire.BytesType)
	dst = protowire.AppendBytes(dst, raw)
	if k < headerField {
		dst = appendEntryHeader(dst, h)
	}
	return dst
}

// WrapInternal is AppendInternal for a request that already lies where its entry will: buf is
// EntryHeadroom bytes, the request, and EntryTailroom bytes. The entry is a view into buf; the
// request's bytes stay as they are. It is for the kinds whose field number is less than 16; a header
// that names a user takes more room than there is, and the request is copied then.
func WrapInternal(buf []byte, h EntryHeader, k Kind) []byte {
	// The headroom has one byte for the tag: a longer one would overwrite the request.
	if k >= 16 {
		panic("wire: kind's tag takes more than a byte")
	}
	end := len(buf) - EntryTailroom
	if !h.anonymous() {
		return AppendInternal(nil, h, k, buf[EntryHeadroom:end])
	}
	size := uint64(end - EntryHeadroom)
	start := EntryHeadroom - 1 - protowire.SizeVarint(size)
	buf[start] = byte(k)<<3 | lenType
	binary.PutUvarint(buf[start+1:], size)
	return appendEntryHeader(buf[start:end], h)
}

func appendEntryHeader(dst []byte, h EntryHeader) []byte {
	size := 0
	if h.ID != 0 {
		size += 1 + protowire.SizeVarint(h.ID)
	}
	if h.Username != "" {
		size += 1 + protowire.SizeBytes(len(h.Username))
	}
	if h.AuthRevision != 0 {
		size += 1 + protowire.SizeVarint(h.AuthRevision)
	}
	dst = protowire.AppendTag(dst, headerField, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if h.ID != 0 {
		dst = protowire.AppendVarint(append(dst, 1<<3|varintType), h.ID)
	}
	if h.Username != "" {
		dst = protowire.AppendString(append(dst, 2<<3|lenType), h.Username)
	}
	if h.AuthRevision != 0 {
		dst = protowire.AppendVarint(append(dst, 3<<3|varintType), h.AuthRevision)
	}
	return dst
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
