// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// writeTxn is the write half of one entry. All its writes have the revision
// after begin; sub numbers them.
type writeTxn struct {
	s      *Store
	begin  int64
	events []event
}

func (s *Store) begin() *writeTxn { return &writeTxn{s: s, begin: s.rev} }

// rev is the revision at which the transaction reads: its own writes included.
func (t *writeTxn) rev() int64 {
	if len(t.events) > 0 {
		return t.begin + 1
	}
	return t.begin
}

// end takes the transaction's revision and its events over into the batch.
func (t *writeTxn) end() {
	if len(t.events) == 0 {
		return
	}
	t.s.rev = t.begin + 1
	t.s.groups = append(t.s.groups, revisionEvents{revision: t.s.rev, events: t.events})
}

func (t *writeTxn) nextVersion() *version {
	t.s.seq++
	return &version{revision: t.begin + 1, seq: t.s.seq, sub: int32(len(t.events))}
}

// put writes one key.
func (t *writeTxn) put(key, value []byte, lease int64) {
	s := t.s
	old, exists := s.tree.Get(stringOf(key))
	var prev, before *version
	if exists {
		prev, before = old.live(), old.at(t.begin)
	}
	v := t.nextVersion()
	v.lease, v.create, v.number = lease, v.revision, 1
	if prev != nil {
		v.create, v.number = prev.create, prev.number+1
	}
	kv := v.metadata("")
	kv.Key, kv.Value = key, value
	data := wire.AppendKeyValue(nil, kv)
	v.size = int32(len(data))
	v.setEncoded(data)

	e := &entry{key: string(key), versions: []*version{v}}
	if exists {
		e = old.with(v)
	}
	s.tree.Set(e.key, index.Live, e)
	s.fresh = append(s.fresh, v)
	s.batch.Rows = append(s.batch.Rows, sqldb.Row{
		Seq: v.seq, Revision: v.revision, Sub: int64(v.sub), Key: bytesOf(e.key),
		CreateRevision: v.create, Version: v.number, Lease: lease, Value: valueOf(data, kv),
	})
	if prev != nil && prev.lease != lease {
		s.leases.detach(prev.lease, e.key)
	}
	s.leases.attach(lease, e.key) // also if prev has the same: it may have been another lease of that number
	t.note(event{key: e.key, v: v, prev: before}, prev)
}

// valueOf finds the value inside the encoded KeyValue, so that the row does
// not keep the entry that it came from in memory. The value is the last field
// but for a lease.
func valueOf(data []byte, kv wire.KeyValue) []byte {
	tail := kv
	tail.Key, tail.Value, tail.CreateRevision, tail.ModRevision, tail.Version = nil, nil, 0, 0, 0
	end := len(data) - wire.SizeKeyValue(tail)
	return data[end-len(kv.Value) : end : end]
}

// delete writes a tombstone for a key that exists.
func (t *writeTxn) delete(old *entry) {
	s := t.s
	prev := old.live()
	v := t.nextVersion()
	e := old.with(v)
	s.tree.Set(e.key, index.Dead, e)
	s.fresh = append(s.fresh, v)
	s.batch.Rows = append(s.batch.Rows, sqldb.Row{
		Seq: v.seq, Revision: v.revision, Sub: int64(v.sub), Key: bytesOf(e.key), Tombstone: true,
	})
	s.leases.detach(prev.lease, e.key)
	t.note(event{key: e.key, v: v, prev: old.at(t.begin)}, prev)
}

// note takes a write that replaced a live version, or nil. Watchers are shown
// what the key held before the transaction, which is another version if the
// transaction has written the key already.
func (t *writeTxn) note(e event, replaced *version) {
	t.events = append(t.events, e)
	t.s.observe(e, replaced)
}

// mustLoad returns a value that apply depends on. A database that can't give
// what it holds leaves no right answer: going on with a guess would make this
// member differ from the others.
func (t *writeTxn) mustLoad(v *version) []byte {
	data, err := t.s.load(t.s.ctx, v)
	if err != nil {
		panic(fmt.Sprintf("sqlstore: row %d, which apply needs: %v", v.seq, err)) // see above: there is no right answer
	}
	return data
}

// mustLoadAll is mustLoad for many.
func (t *writeTxn) mustLoadAll(pairs []pair) [][]byte {
	out, err := t.s.loadAll(t.s.ctx, pairs)
	if err != nil {
		panic(fmt.Sprintf("sqlstore: %d rows, which apply needs: %v", len(pairs), err)) // as in mustLoad
	}
	return out
}

// live returns the current version of a key at the transaction's revision.
func (t *writeTxn) live(key []byte) *version {
	if e, ok := t.s.tree.Get(stringOf(key)); ok {
		return e.live()
	}
	return nil
}

// checkPut finds what is wrong with a put before anything is written.
func (t *writeTxn) checkPut(r *pb.PutRequest) error {
	if r.Lease != 0 && !t.s.leases.has(r.Lease) {
		return ErrLeaseNotFound
	}
	if (r.IgnoreValue || r.IgnoreLease) && t.live(r.Key) == nil {
		return ErrKeyNotFound
	}
	return nil
}

func (t *writeTxn) execPut(r *pb.PutRequest) *wire.PutResponse {
	resp := &wire.PutResponse{Header: wire.Header{Revision: t.begin + 1}}
	value, lease := r.Value, r.Lease
	prev := t.live(r.Key)
	if prev != nil && r.PrevKv {
		resp.PrevKV = t.mustLoad(prev)
	}
	if r.IgnoreLease { // checked: the key exists
		lease = prev.lease
	}
	if r.IgnoreValue {
		value = mustParse(t.mustLoad(prev)).Value
	}
	t.put(r.Key, value, lease)
	return resp
}

// mustParse decodes what this store encoded.
func mustParse(data []byte) wire.KeyValue {
	kv, err := wire.ParseKeyValue(data)
	if err != nil {
		panic(fmt.Sprintf("sqlstore: a KeyValue of our own does not decode: %v", err)) // memory is damaged: stop
	}
	return kv
}

func (t *writeTxn) execDelete(r *pb.DeleteRangeRequest) *wire.DeleteRangeResponse {
	pairs := t.s.private(t.rev()).collect(r.Key, r.RangeEnd, t.rev(), 0)
	resp := &wire.DeleteRangeResponse{Deleted: int64(len(pairs))}
	if r.PrevKv {
		resp.PrevKVs = t.mustLoadAll(pairs)
	}
	for _, p := range pairs {
		t.delete(p.e)
	}
	resp.Header.Revision = t.rev()
	return resp
}

func (s *Store) applyPut(r *pb.PutRequest) (*wire.PutResponse, error) {
	t := s.begin()
	if err := t.checkPut(r); err != nil {
		return nil, err
	}
	resp := t.execPut(r)
	t.end()
	return resp, nil
}

func (s *Store) applyDeleteRange(r *pb.DeleteRangeRequest) *wire.DeleteRangeResponse {
	t := s.begin()
	resp := t.execDelete(r)
	t.end()
	return resp
}
