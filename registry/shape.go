// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Shape is the kind of a request among those that kube-apiserver makes.
type Shape uint8

const (
	// ShapeUnknown is any request that kube-apiserver does not make.
	ShapeUnknown Shape = iota
	// ShapeCreate puts a key if there is none.
	ShapeCreate
	// ShapeUpdate puts a key if its mod revision is what the caller read, and reads it otherwise.
	ShapeUpdate
	// ShapeDelete deletes a key if its mod revision is what the caller read.
	ShapeDelete
	// ShapeGet reads one key.
	ShapeGet
	// ShapeList reads a resource or one namespace of it, whole or a page at a time.
	ShapeList
	// ShapeKeys reads the keys alone of a resource, from which kube-apiserver estimates sizes.
	ShapeKeys
	// ShapeCount counts a resource.
	ShapeCount
	// ShapeWatch starts a watch.
	ShapeWatch
	// ShapeProgress asks for the progress of a stream's watches.
	ShapeProgress
	// ShapeLeaseGrant grants the lease that Events share.
	ShapeLeaseGrant
	// ShapeCompactRecord is the transaction by which API servers agree who compacts.
	ShapeCompactRecord
	// ShapeCompact compacts the store.
	ShapeCompact
)

var shapeNames = [...]string{
	"unknown", "create", "update", "delete", "get", "list", "keys", "count", "watch", "progress",
	"lease_grant", "compact_record", "compact",
}

// String returns the shape's name in lower case, as a metric's label has it.
func (s Shape) String() string {
	if int(s) < len(shapeNames) {
		return shapeNames[s]
	}
	return shapeNames[ShapeUnknown]
}

// compactKey is the key on which API servers agree who compacts. It is outside of any prefix.
const compactKey = "compact_rev_key"

// Classify returns the shape of a request of etcd's API. A request that sets anything which
// kube-apiserver does not set is unknown. It allocates nothing.
func Classify(req proto.Message) Shape {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return classifyRange(r)
	case *pb.TxnRequest:
		return classifyTxn(r)
	case *pb.WatchRequest:
		return classifyWatch(r)
	case *pb.LeaseGrantRequest:
		if r.GetID() == 0 && r.GetTTL() > 0 {
			return ShapeLeaseGrant
		}
	case *pb.CompactionRequest:
		if !r.GetPhysical() && r.GetRevision() > 0 {
			return ShapeCompact
		}
	}
	return ShapeUnknown
}

func classifyRange(r *pb.RangeRequest) Shape {
	if r.GetSerializable() || r.GetSortOrder() != pb.RangeRequest_NONE || r.GetMinModRevision() != 0 ||
		r.GetMaxModRevision() != 0 || r.GetMinCreateRevision() != 0 || r.GetMaxCreateRevision() != 0 {
		return ShapeUnknown
	}
	switch end := r.GetRangeEnd(); {
	case len(r.GetKey()) == 0:
		return ShapeUnknown
	case len(end) == 0:
		if r.GetKeysOnly() || r.GetCountOnly() || r.GetLimit() > 1 {
			return ShapeUnknown
		}
		return ShapeGet
	case r.GetCountOnly():
		if r.GetLimit() != 0 || r.GetKeysOnly() || !endsPrefix(r.GetKey(), end) {
			return ShapeUnknown
		}
		return ShapeCount
	case !inPrefixEndedBy(r.GetKey(), end):
		return ShapeUnknown
	case r.GetKeysOnly():
		return ShapeKeys
	default:
		return ShapeList
	}
}

func classifyTxn(r *pb.TxnRequest) Shape {
	if len(r.GetCompare()) != 1 || len(r.GetSuccess()) != 1 || len(r.GetFailure()) > 1 {
		return ShapeUnknown
	}
	compare, success := r.GetCompare()[0], r.GetSuccess()[0]
	key := compare.GetKey()
	if compare.GetResult() != pb.Compare_EQUAL || len(compare.GetRangeEnd()) != 0 {
		return ShapeUnknown
	}
	if len(r.GetFailure()) == 1 && !readsOnly(r.GetFailure()[0], key) {
		return ShapeUnknown
	}
	switch compare.GetTarget() {
	case pb.Compare_VERSION:
		if string(key) == compactKey && putsOnly(success, key) {
			return ShapeCompactRecord
		}
	case pb.Compare_MOD:
		switch {
		case deletesOnly(success, key):
			return ShapeDelete
		case !putsOnly(success, key):
		case compare.GetModRevision() == 0:
			return ShapeCreate
		case len(r.GetFailure()) == 1:
			return ShapeUpdate
		}
	}
	return ShapeUnknown
}

func classifyWatch(r *pb.WatchRequest) Shape {
	if r.GetProgressRequest() != nil {
		return ShapeProgress
	}
	c := r.GetCreateRequest()
	if c == nil || len(c.GetFilters()) != 0 || c.GetWatchId() != 0 || len(c.GetKey()) == 0 {
		return ShapeUnknown
	}
	if end := c.GetRangeEnd(); len(end) != 0 && !endsPrefix(c.GetKey(), end) {
		return ShapeUnknown
	}
	return ShapeWatch
}

// putsOnly reports whether op puts a value under key and asks for nothing else.
func putsOnly(op *pb.RequestOp, key []byte) bool {
	put := op.GetRequestPut()
	return put != nil && bytes.Equal(put.GetKey(), key) &&
		!put.GetPrevKv() && !put.GetIgnoreValue() && !put.GetIgnoreLease()
}

// deletesOnly reports whether op deletes key and asks for nothing else.
func deletesOnly(op *pb.RequestOp, key []byte) bool {
	del := op.GetRequestDeleteRange()
	return del != nil && bytes.Equal(del.GetKey(), key) && len(del.GetRangeEnd()) == 0 && !del.GetPrevKv()
}

// readsOnly reports whether op reads key.
func readsOnly(op *pb.RequestOp, key []byte) bool {
	get := op.GetRequestRange()
	return get != nil && bytes.Equal(get.GetKey(), key) && classifyRange(get) == ShapeGet
}

// endsPrefix reports whether end is the end of the range of all keys that begin with prefix.
func endsPrefix(prefix, end []byte) bool {
	return len(prefix) == len(end) && inPrefixEndedBy(prefix, end)
}

// inPrefixEndedBy reports whether key begins with the prefix whose range ends at end: a page's start
// is a key below its resource's prefix. Prefixes that end in 0xff, which the end would be shorter
// than, are none of kube-apiserver's.
func inPrefixEndedBy(key, end []byte) bool {
	last := len(end) - 1
	return len(key) > last && bytes.Equal(key[:last], end[:last]) && key[last]+1 == end[last] && key[last] != 0xff
}
