// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// Hash is the hash of all writes up to Revision that a compaction at
// CompactRevision leaves.
type Hash struct {
	Sum                       uint32
	CompactRevision, Revision int64
}

// maxHashes is how many hashes of compactions a server remembers.
const maxHashes = 10

// entryID names a write: its revision and its place in the transaction.
type entryID struct{ rev, sub int64 }

func (e entry) id() entryID { return entryID{e.rev, e.sub} }

// Whether a tombstone at exactly the revision in question is kept.
type tombstones int

const (
	dropTombstone tombstones = iota
	keepTombstone
)

// kept returns the newest write of each key at a revision, deleted keys left
// out; with keepTombstone a deletion at that very revision is in.
func (s *Store) kept(rev int64, t tombstones) map[entryID]bool {
	newest := map[string]entry{}
	for _, e := range s.history {
		if e.rev <= rev {
			newest[string(e.kv.Key)] = e
		}
	}
	keep := map[entryID]bool{}
	for _, e := range newest {
		if !e.tombstone || t == keepTombstone && e.rev == rev {
			keep[e.id()] = true
		}
	}
	return keep
}

// hash sums the writes up to rev as etcd's backend holds them. Of those at or
// below the compacted revision only the kept ones count, unless nothing is kept.
func (s *Store) hash(compactRev, rev int64, keep map[entryID]bool) Hash {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	sum.Write([]byte("key")) // the bucket's name
	for _, e := range s.history {
		compacted := e.rev <= compactRev && len(keep) > 0 && !keep[e.id()]
		if e.rev > rev || compacted || e.tombstone && e.rev == compactRev {
			continue
		}
		sum.Write(e.backendKey())
		sum.Write(e.backendValue())
	}
	return Hash{sum.Sum32(), compactRev, rev}
}

// backendKey is rev '_' sub, and 't' for a tombstone.
func (e entry) backendKey() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.rev))
	b = append(b, '_')
	b = binary.BigEndian.AppendUint64(b, uint64(e.sub))
	if e.tombstone {
		b = append(b, 't')
	}
	return b
}

func (e entry) backendValue() []byte {
	kv := e.kv
	if e.tombstone {
		kv = &mvccpb.KeyValue{Key: kv.Key}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(kv)
	if err != nil {
		panic("a key and a value always marshal: " + err.Error())
	}
	return b
}

// remember keeps the hash of a compaction among the newest.
func (s *Store) remember(h Hash) {
	s.hashes = append(s.hashes, h)
	slices.SortFunc(s.hashes, func(a, b Hash) int { return cmp.Compare(a.Revision, b.Revision) })
	s.hashes = s.hashes[max(0, len(s.hashes)-maxHashes):]
}

// HashKV answers as Maintenance.HashKV.
func (s *Store) HashKV(r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	for _, h := range s.hashes {
		if h.Revision == r.Revision {
			return s.hashResponse(h), nil
		}
	}
	rev := r.Revision
	switch {
	case rev > 0 && rev < s.compactRev:
		return nil, rpctypes.ErrGRPCCompacted
	case rev > s.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	case rev == 0:
		rev = s.rev
	}
	return s.hashResponse(s.hash(s.compactRev, rev, s.kept(rev, dropTombstone))), nil
}

func (s *Store) hashResponse(h Hash) *pb.HashKVResponse {
	return &pb.HashKVResponse{
		Header: s.header(), Hash: h.Sum,
		CompactRevision: h.CompactRevision, HashRevision: h.Revision,
	}
}
