// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLoad wants the metadata of all rows, in order, and the rest of the state.
func TestLoad(t *testing.T) {
	db := open(t, testOptions(t))
	const n = 30_000
	for seq := int64(1); seq <= n; seq += 100 {
		must(t, db.Write(batchOf(seq, 100)))
	}
	must(t, db.Flush(t.Context()))
	next := int64(1)
	must(t, db.Load(t.Context(), func(rows []RowMeta) error {
		for _, m := range rows {
			r := rowAt(next)
			want := RowMeta{
				Seq: r.Seq, Revision: r.Revision, Sub: r.Sub, Key: string(r.Key), CreateRevision: r.CreateRevision,
				Version: r.Version, Lease: r.Lease, Tombstone: r.Tombstone, ValueSize: int64(len(r.Value)),
			}
			if m != want {
				return fmt.Errorf("row %d: %s", next, cmp.Diff(want, m))
			}
			next++
		}
		return nil
	}))
	if next != n+1 {
		t.Errorf("%d rows were loaded, want %d", next-1, n)
	}
	if applied := verify(t, db, none); applied != n {
		t.Errorf("applied index %d, want %d", applied, n)
	}
}

// TestRead wants values by sequence number, and says by silence which are gone.
func TestRead(t *testing.T) {
	db := open(t, testOptions(t))
	must(t, db.Write(batchOf(1, 1000)))
	must(t, db.Flush(t.Context()))
	must(t, db.Delete(t.Context(), []int64{10, 500}))
	seqs := []int64{1, 2, 3, 10, 499, 500, 501, 999}
	got := map[int64]bool{}
	must(t, db.Read(t.Context(), seqs, func(i int, r Row) error {
		if r.Seq != seqs[i] || !sameRow(r, rowAt(r.Seq)) {
			return fmt.Errorf("row %d stands for %d", r.Seq, seqs[i])
		}
		got[r.Seq] = true
		return nil
	}))
	if len(got) != len(seqs)-2 || got[10] || got[500] {
		t.Errorf("read %v", got)
	}
}

// TestSeqOfRevision looks revisions up across the gaps that compaction leaves.
func TestSeqOfRevision(t *testing.T) {
	db := open(t, testOptions(t))
	must(t, db.Write(batchOf(1, 1000)))
	must(t, db.Flush(t.Context()))
	var gone []int64
	for seq := int64(1); seq <= 1000; seq++ {
		if seq < 300 || seq%3 == 0 {
			gone = append(gone, seq)
		}
	}
	must(t, db.Delete(t.Context(), gone))
	for rev := int64(1); rev <= 503; rev++ {
		want := int64(1001)
		for seq := int64(1000); seq >= 300; seq-- {
			if seq%3 != 0 && rowAt(seq).Revision >= rev {
				want = seq
			}
		}
		if got, err := db.SeqOfRevision(t.Context(), rev); err != nil || got != want {
			t.Fatalf("revision %d: row %d, %v, want %d", rev, got, err, want)
		}
	}
}

// TestVacuum wants the space of deleted rows given back without anybody
// waiting, and the rows that are left untouched.
func TestVacuum(t *testing.T) {
	o := testOptions(t)
	o.VacuumMinBytes = 1 << 20
	db := open(t, o)
	const n = 20_000
	for seq := int64(1); seq <= n; seq += 500 {
		must(t, db.Write(batchOf(seq, 500)))
	}
	_, err := db.Persist(t.Context())
	must(t, err)
	full := db.Stats().TotalBytes
	gone := func(seq int64) bool { return seq%10 != 0 }
	var seqs []int64
	for seq := int64(1); seq <= n; seq++ {
		if gone(seq) {
			seqs = append(seqs, seq)
		}
	}
	must(t, db.Delete(t.Context(), seqs))
	db.Vacuum()
	eventually(t, "the file shrinks", func() bool {
		s := db.Stats()
		return !s.Vacuuming && s.TotalBytes < full/3
	})
	verify(t, db, gone)
}

// TestWALStaysBounded wants the -wal file to stay near its bound however much is written.
func TestWALStaysBounded(t *testing.T) {
	o := testOptions(t)
	o.CheckpointBytes = 1 << 20
	db := open(t, o)
	var largest int64
	for seq := int64(1); seq <= 20_000; seq += 100 {
		must(t, db.Write(batchOf(seq, 100)))
		must(t, db.Flush(t.Context()))
		size, err := fileSize(o.Path + "-wal")
		must(t, err)
		largest = max(largest, size)
	}
	if largest > 4*o.CheckpointBytes {
		t.Errorf("the -wal file grew to %d bytes with a bound of %d", largest, o.CheckpointBytes)
	}
	verify(t, db, none)
}

// TestViewStands wants one state however much is written and deleted meanwhile.
func TestViewStands(t *testing.T) {
	db := open(t, testOptions(t))
	must(t, db.Write(batchOf(1, 1000)))
	must(t, db.View(t.Context(), func(v *View) error {
		if err := db.Write(batchOf(1001, 1000)); err != nil {
			return err
		}
		if err := db.Delete(context.Background(), []int64{1, 2, 3}); err != nil {
			return err
		}
		n := 0
		err := v.Scan(t.Context(), func(r Row) error {
			n++
			if !sameRow(r, rowAt(int64(n))) {
				return fmt.Errorf("row %d is not as it was", n)
			}
			return nil
		})
		if n != 1000 {
			return fmt.Errorf("%d rows in a view of 1000", n)
		}
		return err
	}))
}
