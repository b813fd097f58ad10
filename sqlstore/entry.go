// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"sort"
	"sync/atomic"
	"unsafe"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// version is one write of one key: a put, or a tombstone (number 0). All but
// the value bytes is fixed once it is published.
type version struct {
	revision int64 // main revision of the write
	seq      int64 // row of the history table
	create   int64
	number   int64 // version of the key; 0 marks a tombstone
	lease    int64
	data     atomic.Pointer[byte] // first byte of the encoded KeyValue; nil while only SQLite has it
	sub      int32                // position among the writes of one revision
	size     int32                // bytes of the encoded KeyValue; 0 for a tombstone
	touched  atomic.Bool          // read since the cache's hand last passed
}

func (v *version) tombstone() bool { return v.number == 0 }

// encoded returns the bytes of the mvccpb.KeyValue, nil when they are not in
// memory. The caller must not change them.
func (v *version) encoded() []byte {
	p := v.data.Load()
	if p == nil {
		return nil
	}
	if !v.touched.Load() {
		v.touched.Store(true)
	}
	return unsafe.Slice(p, v.size)
}

// isOf tells whether the row is that of the version. A row by the same number could
// be another one's if a restored database had numbered its rows otherwise.
func (v *version) isOf(r sqldb.Row) bool {
	return r.Revision == v.revision && r.Sub == int64(v.sub) && r.Tombstone == v.tombstone()
}

func (v *version) setEncoded(data []byte) { v.data.Store(unsafe.SliceData(data)) }

// metadata is the version's KeyValue without its value.
func (v *version) metadata(key string) wire.KeyValue {
	return wire.KeyValue{
		Key: bytesOf(key), CreateRevision: v.create, ModRevision: v.revision,
		Version: v.number, Lease: v.lease,
	}
}

// entry is a key with its versions in revision order, at least one. An entry
// is never changed: a write makes a new one, so that older views stay whole.
// versions may share its array with the entry it came from, which only looks
// at its own length.
type entry struct {
	key      string
	versions []*version
}

// last returns the newest version, a tombstone included.
func (e *entry) last() *version { return e.versions[len(e.versions)-1] }

// live returns the newest version, nil if it is a tombstone.
func (e *entry) live() *version {
	if v := e.last(); !v.tombstone() {
		return v
	}
	return nil
}

// at returns the version that a reader at revision rev sees, nil if the key
// did not exist then.
func (e *entry) at(rev int64) *version {
	if v := e.latest(rev); v != nil && !v.tombstone() {
		return v
	}
	return nil
}

// latest returns the newest version with revision <= rev, a tombstone
// included, nil if there is none.
func (e *entry) latest(rev int64) *version {
	n := len(e.versions)
	if v := e.versions[n-1]; v.revision <= rev {
		return v
	}
	i := sort.Search(n, func(i int) bool { return e.versions[i].revision > rev })
	if i == 0 {
		return nil
	}
	return e.versions[i-1]
}

// write returns the version that the write of a revision at position sub made, nil if it is
// not there.
func (e *entry) write(revision int64, sub int32) *version {
	i := sort.Search(len(e.versions), func(i int) bool {
		v := e.versions[i]
		return v.revision > revision || v.revision == revision && v.sub >= sub
	})
	if i == len(e.versions) || e.versions[i].revision != revision || e.versions[i].sub != sub {
		return nil
	}
	return e.versions[i]
}

// with returns the entry after one more write.
func (e *entry) with(v *version) *entry {
	return &entry{key: e.key, versions: append(e.versions, v)}
}

func (e *entry) liveness() index.Liveness {
	if e.last().tombstone() {
		return index.Dead
	}
	return index.Live
}

// compacted returns what compaction at rev leaves of the entry and the
// versions it drops: the newest version at or below rev stays, unless it is a
// tombstone from before rev (a tombstone at rev itself stays so that a watch
// from rev sees the deletion, as in etcd since 3.5.16). The entry itself is
// returned when nothing is dropped, nil when nothing is left.
func (e *entry) compacted(rev int64) (*entry, []*version) {
	n := sort.Search(len(e.versions), func(i int) bool { return e.versions[i].revision > rev })
	if n == 0 {
		return e, nil
	}
	keep := n - 1
	if v := e.versions[keep]; v.tombstone() && v.revision < rev {
		keep = n
	}
	switch keep {
	case 0:
		return e, nil
	case len(e.versions):
		return nil, e.versions
	}
	left := make([]*version, len(e.versions)-keep)
	copy(left, e.versions[keep:])
	return &entry{key: e.key, versions: left}, e.versions[:keep:keep]
}

// stringOf is b as a string without a copy, for look-ups that do not keep it.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is s as bytes without a copy; they must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
