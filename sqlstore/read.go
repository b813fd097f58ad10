// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/index"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// view is one state of the store as readers see it. It never changes.
type view struct {
	tree       *index.Tree[*entry]
	rev        int64
	compactRev int64
	// restores counts the databases that were replaced before: each may number its rows otherwise.
	restores int
}

// errRowGone says that a row of a view was deleted while it was read. Only
// compaction deletes rows, and only after it has published a view without them.
var errRowGone = fmt.Errorf("%w meanwhile", ErrCompacted)

// pair is a key's entry with the version that a reader sees.
type pair struct {
	e *entry
	v *version
}

// bounds turns a request's key and range_end into [lo, hi) of the index; hi
// empty means no upper end. single says that only the key itself is meant.
func bounds(key, end []byte) (lo, hi string, single bool) {
	switch {
	case len(end) == 0:
		return stringOf(key), "", true
	case len(end) == 1 && end[0] == 0:
		return stringOf(key), "", false
	}
	return stringOf(key), stringOf(end), false
}

// emptyRange reports bounds that hold no key, which the index need not see.
func emptyRange(lo, hi string) bool { return hi != "" && lo >= hi }

// count returns the number of keys in the range that exist at rev.
func (w *view) count(key, end []byte, rev int64) int64 {
	lo, hi, single := bounds(key, end)
	if single {
		if e, ok := w.tree.Get(lo); ok && e.at(rev) != nil {
			return 1
		}
		return 0
	}
	if emptyRange(lo, hi) {
		return 0
	}
	if rev == w.rev {
		return int64(w.tree.Count(lo, hi))
	}
	var n int64
	w.tree.Ascend(lo, hi, func(_ string, e *entry) bool {
		if e.at(rev) != nil {
			n++
		}
		return true
	})
	return n
}

// collect returns up to limit keys of the range at rev in key order; limit 0
// means all.
func (w *view) collect(key, end []byte, rev, limit int64) []pair {
	lo, hi, single := bounds(key, end)
	if single {
		if e, ok := w.tree.Get(lo); ok {
			if v := e.at(rev); v != nil {
				return []pair{{e, v}}
			}
		}
		return nil
	}
	if emptyRange(lo, hi) {
		return nil
	}
	var out []pair
	if limit > 0 {
		out = make([]pair, 0, min(limit, 1024))
	}
	w.tree.Ascend(lo, hi, func(_ string, e *entry) bool {
		if v := e.at(rev); v != nil {
			out = append(out, pair{e, v})
		}
		return limit == 0 || int64(len(out)) < limit
	})
	return out
}

// check resolves a request's revision against the view: 0 and below mean the
// view's own.
func (w *view) check(rev int64) (int64, error) {
	switch {
	case rev > w.rev:
		return 0, ErrFutureRevision
	case rev <= 0:
		return w.rev, nil
	case rev < w.compactRev:
		return 0, ErrCompacted
	}
	return rev, nil
}

// Admit is asked, before values are read, for the bytes of an answer, and may wait or
// refuse it with an error.
type Admit func(bytes int64) error

// Range answers a RangeRequest from the newest published state. The header
// carries the revision only. Errors: ErrCompacted, ErrFutureRevision, ctx's,
// or an error of the database.
func (s *Store) Range(ctx context.Context, r *pb.RangeRequest) (*wire.RangeResponse, error) {
	return s.RangeAdmitted(ctx, r, nil)
}

// RangeAdmitted is Range for an answer that has to be admitted, unless admit is nil.
// It may be asked again, when the answer is read once more from a newer state. Errors:
// also admit's.
func (s *Store) RangeAdmitted(ctx context.Context, r *pb.RangeRequest, admit Admit) (*wire.RangeResponse, error) {
	for {
		w := s.view.Load()
		resp, err := s.rangeOn(ctx, w, r, admit)
		if now := s.view.Load(); errors.Is(err, errRowGone) && (r.Revision <= 0 && now != w || now.restores != w.restores) {
			continue // the view was old: a newer one has other rows
		}
		if err == nil && resp.More && r.Revision <= 0 {
			s.pins.add(w)
		}
		return resp, err
	}
}

// rangeOn answers a RangeRequest from one view, as etcd does: the limit is
// applied to the scan unless sorting or revision filters need all keys, and
// count is of the whole range whatever limit and filters say.
func (s *Store) rangeOn(ctx context.Context, w *view, r *pb.RangeRequest, admit Admit) (*wire.RangeResponse, error) {
	s.opts.Metrics.Ranges.Inc()
	rev, err := w.check(r.Revision)
	if err != nil {
		return nil, err
	}
	resp := &wire.RangeResponse{Header: wire.Header{Revision: w.rev}}
	src := w
	if rev != w.rev {
		if p := s.pins.get(rev); p != nil {
			src = p
		}
	}
	if r.CountOnly {
		resp.Count = src.count(r.Key, r.RangeEnd, rev)
		return resp, nil
	}
	scan := scanLimit(r)
	pairs := src.collect(r.Key, r.RangeEnd, rev, scan)
	if scan == 0 || int64(len(pairs)) < scan {
		resp.Count = int64(len(pairs))
	} else {
		resp.Count = src.count(r.Key, r.RangeEnd, rev)
	}
	pairs = filterByRevision(pairs, r)
	if sortsByValue(r) {
		if err := s.sortByValue(ctx, pairs, r.SortOrder); err != nil {
			return nil, err
		}
	} else {
		sortPairs(pairs, r)
	}
	if r.Limit > 0 && int64(len(pairs)) > r.Limit {
		pairs = pairs[:r.Limit]
		resp.More = true
	}
	if admit != nil {
		if err := admit(answerBytes(pairs, r)); err != nil {
			return nil, err
		}
	}
	resp.KVs, err = s.values(ctx, pairs, r)
	return resp, err
}

// answerBytes is the size of an answer, without what is around its key-values. Sorting
// by value reads all values of the range before.
func answerBytes(pairs []pair, r *pb.RangeRequest) (bytes int64) {
	for _, p := range pairs {
		if r.KeysOnly {
			bytes += int64(len(p.e.key))
		} else {
			bytes += int64(p.v.size)
		}
	}
	return bytes
}

// scanLimit is how many keys the scan may stop at, one more than asked for so
// that `more` is known; 0 for all.
func scanLimit(r *pb.RangeRequest) int64 {
	plainOrder := r.SortOrder == pb.RangeRequest_NONE ||
		(r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND)
	if !plainOrder || hasRevisionFilters(r) || r.Limit <= 0 {
		return 0
	}
	if r.Limit+1 < r.Limit {
		return r.Limit
	}
	return r.Limit + 1
}

func hasRevisionFilters(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 ||
		r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func filterByRevision(pairs []pair, r *pb.RangeRequest) []pair {
	if !hasRevisionFilters(r) {
		return pairs
	}
	within := func(n, lo, hi int64) bool {
		return (lo == 0 || n >= lo) && (hi == 0 || n <= hi)
	}
	out := pairs[:0]
	for _, p := range pairs {
		if within(p.v.revision, r.MinModRevision, r.MaxModRevision) &&
			within(p.v.create, r.MinCreateRevision, r.MaxCreateRevision) {
			out = append(out, p)
		}
	}
	return out
}

func sortsByValue(r *pb.RangeRequest) bool { return r.SortTarget == pb.RangeRequest_VALUE }

// sorter sorts with sort.Sort, whose order of equal elements etcd's answers have.
type sorter struct {
	n    int
	swap func(i, j int)
	less func(i, j int) bool
}

func (s *sorter) Len() int           { return s.n }
func (s *sorter) Swap(i, j int)      { s.swap(i, j) }
func (s *sorter) Less(i, j int) bool { return s.less(i, j) }

func sortIn(order pb.RangeRequest_SortOrder, s *sorter) {
	if order == pb.RangeRequest_DESCEND {
		sort.Sort(sort.Reverse(s))
		return
	}
	sort.Sort(s)
}

// sortPairs sorts by anything but the value. Without an order only a target
// other than the key sorts, ascending.
func sortPairs(pairs []pair, r *pb.RangeRequest) {
	if r.SortTarget == pb.RangeRequest_KEY && r.SortOrder != pb.RangeRequest_DESCEND {
		return
	}
	compare := func(a, b pair) int { return cmp.Compare(a.e.key, b.e.key) }
	switch r.SortTarget {
	case pb.RangeRequest_VERSION:
		compare = func(a, b pair) int { return cmp.Compare(a.v.number, b.v.number) }
	case pb.RangeRequest_CREATE:
		compare = func(a, b pair) int { return cmp.Compare(a.v.create, b.v.create) }
	case pb.RangeRequest_MOD:
		compare = func(a, b pair) int { return cmp.Compare(a.v.revision, b.v.revision) }
	}
	sortIn(r.SortOrder, &sorter{
		n:    len(pairs),
		swap: func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] },
		less: func(i, j int) bool { return compare(pairs[i], pairs[j]) < 0 },
	})
}

func (s *Store) sortByValue(ctx context.Context, pairs []pair, order pb.RangeRequest_SortOrder) error {
	encoded, err := s.loadAll(ctx, pairs)
	if err != nil {
		return err
	}
	values := make([][]byte, len(pairs))
	for i, data := range encoded {
		kv, err := wire.ParseKeyValue(data)
		if err != nil {
			return err
		}
		values[i] = kv.Value
	}
	sortIn(order, &sorter{
		n: len(pairs),
		swap: func(i, j int) {
			pairs[i], pairs[j] = pairs[j], pairs[i]
			values[i], values[j] = values[j], values[i]
		},
		less: func(i, j int) bool { return bytes.Compare(values[i], values[j]) < 0 },
	})
	return nil
}

// values returns the encoded KeyValues of the answer. Like etcd's, an answer
// with keys_only has no lease, unless it was sorted by value.
func (s *Store) values(ctx context.Context, pairs []pair, r *pb.RangeRequest) ([][]byte, error) {
	if !r.KeysOnly {
		return s.loadAll(ctx, pairs)
	}
	out := make([][]byte, len(pairs))
	for i, p := range pairs {
		kv := p.v.metadata(p.e.key)
		if !sortsByValue(r) {
			kv.Lease = 0
		}
		out[i] = wire.AppendKeyValue(nil, kv)
	}
	return out, nil
}

// loadAll returns the encoded KeyValues of pairs, reading those that are not
// in memory from SQLite in one go.
func (s *Store) loadAll(ctx context.Context, pairs []pair) ([][]byte, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	out := make([][]byte, len(pairs))
	var cold []int
	for i, p := range pairs {
		if out[i] = p.v.encoded(); out[i] == nil {
			cold = append(cold, i)
		}
	}
	s.stats.hits.Add(int64(len(pairs) - len(cold)))
	if len(cold) == 0 {
		return out, nil
	}
	s.stats.misses.Add(int64(len(cold)))
	sort.Slice(cold, func(i, j int) bool { return pairs[cold[i]].v.seq < pairs[cold[j]].v.seq })
	seqs := make([]int64, len(cold))
	for i, c := range cold {
		seqs[i] = pairs[c].v.seq
	}
	found := 0
	err := s.db.use(ctx, func(db *sqldb.DB) error {
		found = 0
		return db.Read(ctx, seqs, func(i int, r sqldb.Row) error {
			if v := pairs[cold[i]].v; v.isOf(r) {
				out[cold[i]] = s.warm(v, r)
				found++
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if found < len(cold) {
		return nil, errRowGone
	}
	return out, nil
}

// warm encodes a row read from SQLite and hands its bytes to the cache.
func (s *Store) warm(v *version, r sqldb.Row) []byte {
	kv := wire.KeyValue{
		Key: r.Key, Value: r.Value, CreateRevision: r.CreateRevision,
		ModRevision: r.Revision, Version: r.Version, Lease: r.Lease,
	}
	data := wire.AppendKeyValue(nil, kv)
	if v.data.CompareAndSwap(nil, &data[0]) {
		s.cache.add(v)
	}
	return data
}

// load returns the encoded KeyValue of one version. ErrCompacted: its row is gone.
func (s *Store) load(ctx context.Context, v *version) ([]byte, error) {
	if data := v.encoded(); data != nil {
		return data, nil
	}
	out, err := s.loadAll(ctx, []pair{{v: v}})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// loadWrite is load for whoever keeps a version beyond a view. The row of the same write has another
// number if the database was replaced meanwhile.
func (s *Store) loadWrite(ctx context.Context, key string, v *version) ([]byte, error) {
	for {
		data, err := s.load(ctx, v)
		if !errors.Is(err, errRowGone) {
			return data, err
		}
		e, ok := s.view.Load().tree.Get(key)
		if !ok {
			return nil, err
		}
		now := e.write(v.revision, v.sub)
		if now == nil || now == v {
			return nil, err
		}
		v = now
	}
}
