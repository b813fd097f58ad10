// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"
	"testing"
)

// TestCompactHashes compares with HashKV as it was before each compaction, which
// is what etcd's compactions hash; test/model compares with etcd itself.
func TestCompactHashes(t *testing.T) {
	f := newFixture(t, nil)
	ctx := context.Background()
	var want []HashResult
	for i := range maxCompactHashes + 3 {
		for j := range 5 {
			f.must(put(fmt.Sprintf("key-%d", (i+j)%7), fmt.Sprint(i)))
		}
		f.must(del(fmt.Sprintf("key-%d", i%7), ""))
		f.must(put("last", fmt.Sprint(i))) // a deletion at the very revision counts otherwise
		h, err := f.store.HashKV(ctx, f.store.Revision())
		if err != nil {
			t.Fatal(err)
		}
		f.compact(f.store.Revision())
		want = append(want, HashResult{Hash: h.Hash, CompactRevision: h.CompactRevision, HashRevision: h.HashRevision})
	}
	got := f.store.CompactHashes()
	if len(got) != maxCompactHashes {
		t.Fatalf("%d hashes", len(got))
	}
	for i, h := range got {
		if h != want[len(want)-1-i] {
			t.Errorf("%d. newest: %+v, want %+v", i+1, h, want[len(want)-1-i])
		}
		h.Current = f.store.Revision()
		if again, err := f.store.HashKV(ctx, h.HashRevision); err != nil || again != h {
			t.Errorf("HashKV at %d: %+v %v, want %+v", h.HashRevision, again, err, h)
		}
	}
	if _, err := f.store.HashKV(ctx, want[0].HashRevision); !isError(err, ErrCompacted) {
		t.Errorf("hash of a compaction that is forgotten: %v", err)
	}
	f.reopen()
	if got := f.store.CompactHashes(); len(got) != 0 {
		t.Errorf("%d hashes after a restart", len(got))
	}
}

// TestCompactHashesOfCompactionsInOneBatch: the compactor does them as one.
func TestCompactHashesOfCompactionsInOneBatch(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 10 {
		f.must(put("key", fmt.Sprint(i)))
	}
	out, err := f.store.Apply([]Entry{f.entry(compactAt(4)), f.entry(put("key", "x")), f.entry(compactAt(9))})
	if err != nil {
		t.Fatal(err)
	}
	<-out[2].Response.(*CompactionResult).Done
	got := f.store.CompactHashes()
	if len(got) != 2 || got[0].HashRevision != 9 || got[0].CompactRevision != 4 || got[1].HashRevision != 4 || got[1].CompactRevision != -1 {
		t.Fatalf("%+v", got)
	}
}

// TestHashRightAfterCompaction: HashKV does not depend on whether the compactor,
// which works beside it, has got there.
func TestHashRightAfterCompaction(t *testing.T) {
	f := newFixture(t, nil)
	ctx := context.Background()
	for i := range 200 {
		f.must(put(fmt.Sprintf("key-%d", i%7), fmt.Sprint(i)))
		rev := f.store.Revision()
		want, err := f.store.HashKV(ctx, rev)
		if err != nil {
			t.Fatal(err)
		}
		f.must(compactAt(rev))
		if got, err := f.store.HashKV(ctx, rev); err != nil || got != want {
			t.Fatalf("compaction %d: %+v %v, want %+v", i, got, err, want)
		}
	}
}
