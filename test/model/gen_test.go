// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/model"
)

// generator makes the operations. It is a function of the seed and of the
// model's state, which it looks at so that requests meet what is there.
type generator struct {
	*rand.Rand
	store   *model.Store
	streams *streams
	queue   []operation // to come before anything new
}

// keys is a small set, so that requests meet: prefixes of each other, the
// bytes at both ends, and what kube-apiserver writes.
var keys = func() []string {
	set := []string{
		"a", "a\x00", "a/", "a/1", "a/10", "a/2", "aa", "b", "b/x", "b/y", "c",
		"\x00", "\x00\x00", "\x00a", "\x01", " ", "\x7f", "\x80", "\xc3\xa9", "\xfe", "\xfe\xff",
		"\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff",
		"compact_rev_key", "/registry/health", "/registry/masterleases/10.0.0.1",
		strings.Repeat("long/", 60),
	}
	for i := range 6 {
		set = append(set,
			fmt.Sprintf("/registry/pods/default/web-%d", i),
			fmt.Sprintf("/registry/pods/kube-system/dns-%d", i),
			fmt.Sprintf("/registry/leases/kube-node-lease/node-%d", i))
	}
	return set
}()

// percent is true in so many of a hundred cases.
func (g *generator) percent(p float64) bool { return g.Float64()*100 < p }

func oneOf[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

// next returns the next operation.
func (g *generator) next() operation {
	if len(g.queue) > 0 {
		op := g.queue[0]
		g.queue = g.queue[1:]
		return op
	}
	kinds := []struct {
		weight float64
		make   func() operation
	}{
		{24, func() operation { return g.put() }},
		{8, func() operation { return g.deleteRange() }},
		{24, func() operation { return g.rangeOf() }},
		{5, func() operation { return g.rangeStream() }},
		{20, func() operation { return g.txn() }},
		{3, func() operation { return g.leaseGrant() }},
		{1.5, func() operation { return &pb.LeaseRevokeRequest{ID: g.leaseID()} }},
		{3, func() operation { return &pb.LeaseTimeToLiveRequest{ID: g.leaseID(), Keys: g.percent(70)} }},
		{1, func() operation { return &pb.LeaseKeepAliveRequest{ID: g.leaseID()} }},
		{0.5, func() operation { return &pb.LeaseLeasesRequest{} }},
		{5, func() operation { return &pb.HashKVRequest{Revision: g.revision(50)} }},
		{0.3, func() operation { return g.compaction() }},
		{2.5, func() operation { return g.watch() }},
		{0.1, func() operation { return g.progress() }},
		{0.1, func() operation { return watchReopen{g.IntN(len(g.streams.open))} }},
	}
	total := 0.0
	for _, k := range kinds {
		total += k.weight
	}
	at := g.Float64() * total
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return k.make()
		}
	}
	return g.put()
}

func (g *generator) key() []byte { return []byte(oneOf(g, keys)) }

// keyRange returns a key and a range end of all sorts.
func (g *generator) keyRange() (key, end []byte) {
	key = g.key()
	switch at := g.Float64() * 100; {
	case at < 40:
		return key, nil
	case at < 65:
		prefix := key[:1+g.IntN(len(key))]
		return prefix, prefixEnd(prefix)
	case at < 85:
		return key, g.key()
	case at < 93:
		return key, []byte{0}
	case at < 99.5:
		return []byte{0}, []byte{0}
	default:
		return nil, g.key()
	}
}

// prefixEnd returns the smallest key above all that begin with the prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func (g *generator) value() []byte {
	var size int
	switch at := g.Float64() * 100; {
	case at < 10:
		size = 0
	case at < 70:
		size = 1 + g.IntN(16)
	case at < 95:
		size = 16 + g.IntN(300)
	default:
		size = g.IntN(4096)
	}
	v := make([]byte, size)
	if g.percent(50) { // few values, so that comparisons meet
		return bytes.Repeat([]byte{'a' + byte(g.IntN(3))}, min(size, 2))
	}
	for i := range v {
		v[i] = byte(g.Uint32())
	}
	return v
}

// revision is 0 in zero percent of all cases, else mostly one that can be read.
func (g *generator) revision(zero float64) int64 {
	if g.percent(zero) {
		return 0
	}
	newest, oldest := g.store.Revision(), max(1, g.store.CompactRevision())
	switch at := g.Float64() * 100; {
	case at < 70:
		return oldest + g.Int64N(newest-oldest+1)
	case at < 80:
		return newest
	case at < 85:
		return oldest
	case at < 90:
		return newest + 1 + g.Int64N(5)
	case at < 98:
		return max(1, oldest-1-g.Int64N(20))
	default:
		return -g.Int64N(3)
	}
}

func (g *generator) leaseID() int64 {
	if ids := g.store.LeaseIDs(); len(ids) > 0 && g.percent(80) {
		return oneOf(g, ids)
	}
	return oneOf(g, []int64{0, 1, 2, 3, 5, 8, 13, 0x7fffffff, -1, math.MaxInt64, 1 + g.Int64N(60)})
}

func (g *generator) leaseGrant() *pb.LeaseGrantRequest {
	id := 1 + g.Int64N(1000)
	if taken := g.leaseID(); taken != 0 && g.percent(30) { // 0: the server would choose
		id = taken
	}
	ttl := 2*ttlSlack + g.Int64N(100000)
	if g.percent(4) {
		ttl = oneOf(g, []int64{model.MaxLeaseTTL, model.MaxLeaseTTL + 1, math.MaxInt64})
	}
	return &pb.LeaseGrantRequest{ID: id, TTL: ttl}
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.percent(30)}
	if g.percent(30) {
		r.Lease = g.leaseID()
	}
	if g.percent(6) {
		r.IgnoreValue = true
		if g.percent(90) {
			r.Value = nil
		}
	}
	if g.percent(6) {
		r.IgnoreLease = true
		if g.percent(90) {
			r.Lease = 0
		}
	}
	if g.percent(0.5) {
		r.Key = nil
	}
	return r
}

// deleteRange seldom takes everything, so that something is there to read.
func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key, end := g.keyRange()
	wide := len(end) == 1 && end[0] == 0
	if g.percent(60) || wide && g.percent(70) {
		end = nil
	}
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: g.percent(40)}
}

func (g *generator) rangeOf() *pb.RangeRequest {
	key, end := g.keyRange()
	r := &pb.RangeRequest{
		Key: key, RangeEnd: end,
		Revision:     g.revision(60),
		Serializable: g.percent(30),
		KeysOnly:     g.percent(15),
		CountOnly:    g.percent(10),
	}
	switch at := g.Float64() * 100; {
	case at < 35:
		r.Limit = 1 + g.Int64N(12)
	case at < 37:
		r.Limit = oneOf(g, []int64{-1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1})
	}
	if g.percent(35) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	if g.percent(0.5) {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(g.IntN(5)), pb.RangeRequest_SortTarget(g.IntN(7))
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.percent(6) {
			*bound = max(1, g.store.Revision()-g.Int64N(300))
		}
	}
	return r
}

// rangeStream leaves out sorting by a target without an order: etcd then sorts
// each chunk and loses its place, so that its answer depends on the chunks.
func (g *generator) rangeStream() rangeStream {
	r := g.rangeOf()
	if g.percent(90) {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(g.IntN(2)), pb.RangeRequest_KEY
		r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
	}
	if r.SortOrder == pb.RangeRequest_NONE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	return rangeStream{r}
}

// compaction is followed by a request that waits until it is done: a physical
// compaction at a revision that is compacted already.
func (g *generator) compaction() *pb.CompactionRequest {
	newest, oldest := g.store.Revision(), max(1, g.store.CompactRevision())
	r := &pb.CompactionRequest{Physical: g.percent(50)}
	switch at := g.Float64() * 100; {
	case at < 40:
		r.Revision = max(oldest, newest-g.Int64N(200))
	case at < 70:
		r.Revision = oldest + g.Int64N(newest-oldest+1)
	case at < 90:
		r.Revision = newest
	default:
		r.Revision = g.revision(0)
	}
	// Revision 0 compacts nothing on a new server, once.
	if r.Revision == 0 && oldest == 1 {
		r.Revision = newest
	}
	g.queue = append(g.queue, &pb.CompactionRequest{Revision: min(r.Revision, oldest), Physical: true},
		&pb.HashKVRequest{}, &pb.HashKVRequest{Revision: r.Revision})
	return r
}
