// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var (
	benchRows = flag.Int("bench-rows", 300_000, "rows in the database that is read")
	benchPage = flag.Int("bench-page", DefaultPageSize, "page size in bytes")
)

// benchBatch makes n puts of 1 KiB, the size of a small pod.
func benchBatch(from int64, n int, value []byte) *Batch {
	b := &Batch{Rows: make([]Row, n)}
	for i := range b.Rows {
		seq := from + int64(i)
		b.Rows[i] = Row{
			Seq: seq, Revision: seq + 1, Version: 1, CreateRevision: seq + 1,
			Key: fmt.Appendf(nil, "/registry/pods/default/pod-%07d", seq), Value: value,
		}
	}
	b.AppliedIndex, b.AppliedTerm = uint64(from)+uint64(n), 2
	return b
}

func benchValue(tb testing.TB, size int) []byte {
	v := make([]byte, size)
	_, err := rand.Read(v)
	must(tb, err)
	return v
}

// diskBytes returns the bytes that this process has given to its disks, those taken
// back by cutting files off before they were written not counted.
func diskBytes() (n int64) {
	status, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var v int64
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &v); err == nil {
			n += v
		} else if _, err := fmt.Sscanf(line, "cancelled_write_bytes: %d", &v); err == nil {
			n -= v
		}
	}
	return n
}

// BenchmarkWrite puts values of 1 KiB, 100 rows an entry as 100 busy clients make
// them, and reports bytes to disk for each row.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{256, 1024, 2000, 4096, 6000} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			o := testOptions(b)
			o.PageSize, o.CommitInterval = *benchPage, DefaultCommitInterval
			db := open(b, o)
			value := benchValue(b, size)
			before := diskBytes()
			b.ResetTimer()
			for done := 0; done < b.N; done += 100 {
				must(b, db.Write(benchBatch(int64(done)+1, min(100, b.N-done), value)))
			}
			_, err := db.Persist(b.Context())
			must(b, err)
			b.StopTimer()
			b.ReportMetric(float64(diskBytes()-before)/float64(b.N), "disk-B/row")
			b.ReportMetric(float64(db.Stats().TotalBytes)/float64(b.N), "file-B/row")
		})
	}
}

// BenchmarkTrickle commits one row at a time, as an idle control plane does.
func BenchmarkTrickle(b *testing.B) {
	o := testOptions(b)
	o.PageSize = *benchPage
	db := open(b, o)
	value := benchValue(b, 320)
	before := diskBytes()
	b.ResetTimer()
	for i := range b.N {
		must(b, db.Write(benchBatch(int64(i)+1, 1, value)))
		must(b, db.Flush(b.Context()))
	}
	b.StopTimer()
	_, err := db.Persist(b.Context())
	must(b, err)
	b.ReportMetric(float64(diskBytes()-before)/float64(b.N), "disk-B/row")
}

// fill makes a database of pods for the benchmarks that read.
func fill(b *testing.B) *DB {
	b.Helper()
	o := testOptions(b)
	o.PageSize = *benchPage
	db := open(b, o)
	value := benchValue(b, 1300)
	for next := 1; next <= *benchRows; next += 1000 {
		must(b, db.Write(benchBatch(int64(next), min(1000, *benchRows-next+1), value)))
	}
	_, err := db.Persist(b.Context())
	must(b, err)
	b.Logf("%d MB", db.Stats().TotalBytes>>20)
	return db
}

// BenchmarkRead measures what a start and cold reads cost.
func BenchmarkRead(b *testing.B) {
	db := fill(b)
	ctx := context.Background()
	b.Run("load", func(b *testing.B) {
		for range b.N {
			n := 0
			must(b, db.Load(ctx, func(rows []RowMeta) error { n += len(rows); return nil }))
			if n != *benchRows {
				b.Fatalf("%d rows", n)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N**benchRows), "ns/row")
	})
	read := func(seqs []int64) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				n := 0
				must(b, db.Read(ctx, seqs, func(int, Row) error { n++; return nil }))
				if n != len(seqs) {
					b.Fatalf("%d rows", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(seqs)), "us/row")
		}
	}
	spread := func(n, step int) (seqs []int64) {
		for i := range n {
			seqs = append(seqs, int64(1+i*step%*benchRows))
		}
		return seqs
	}
	b.Run("point", read(spread(1, 1)))
	b.Run("page of 500 neighbours", read(spread(500, 1)))
	b.Run("page of 500, every third", read(spread(500, 3)))
	b.Run("page of 500 far apart", read(spread(500, 599)))
	b.Run("scan of 10000", func(b *testing.B) {
		for range b.N {
			n := 0
			err := db.Scan(ctx, 1, func(Row) error {
				if n++; n == 10_000 {
					return errPageFull
				}
				return nil
			})
			if err != errPageFull {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*10_000), "us/row")
	})
	b.Run("view of all", func(b *testing.B) {
		for range b.N {
			must(b, db.View(ctx, func(v *View) error {
				return v.Scan(ctx, func(Row) error { return nil })
			}))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N**benchRows), "ns/row")
	})
	b.Run("sequence number of revision", func(b *testing.B) {
		for i := range b.N {
			_, err := db.SeqOfRevision(ctx, int64(i%*benchRows))
			must(b, err)
		}
	})
}

// BenchmarkDelete deletes every other row, as compaction does.
func BenchmarkDelete(b *testing.B) {
	o := testOptions(b)
	o.PageSize, o.VacuumPercent = *benchPage, 100
	db := open(b, o)
	value := benchValue(b, 1024)
	var seqs []int64
	for next := 1; next <= 2*b.N; next += 1000 {
		must(b, db.Write(benchBatch(int64(next), min(1000, 2*b.N-next+1), value)))
	}
	for i := range b.N {
		seqs = append(seqs, int64(2*i+1))
	}
	_, err := db.Persist(b.Context())
	must(b, err)
	before := diskBytes()
	b.ResetTimer()
	must(b, db.Delete(b.Context(), seqs))
	b.StopTimer()
	_, err = db.Persist(b.Context())
	must(b, err)
	b.ReportMetric(float64(diskBytes()-before)/float64(b.N), "disk-B/row")
	b.ReportMetric(float64(db.Stats().FreeBytes)/float64(db.Stats().TotalBytes), "free")
}
