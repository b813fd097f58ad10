// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// putObjects puts n objects of 1 KiB in entries of their own, 100 a batch.
func putObjects(b testing.TB, f *fixture, n int) {
	value := bytes.Repeat([]byte("v"), 1024)
	for i := 0; i < n; i += 100 {
		var entries []Entry
		for j := i; j < min(i+100, n); j++ {
			key := fmt.Sprintf("/registry/pods/namespace-%d/pod-%07d", j%50, j)
			entries = append(entries, f.entry(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: value}}))
		}
		if _, err := f.store.Apply(entries); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyPut(b *testing.B) {
	f := newFixture(b, nil)
	value := bytes.Repeat([]byte("v"), 1024)
	entries := make([]Entry, 0, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		b.StopTimer()
		entries = entries[:0]
		for j := range 100 {
			key := fmt.Sprintf("/registry/pods/namespace-%d/pod-%07d", j%50, (i+j)%50000)
			entries = append(entries, f.entry(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: value}}))
		}
		b.StartTimer()
		if _, err := f.store.Apply(entries); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRange(b *testing.B) {
	for _, n := range []int{20_000, 300_000} {
		f := newFixture(b, nil)
		putObjects(b, f, n)
		for name, r := range map[string]*pb.RangeRequest{
			"page":  {Key: []byte("/registry/pods/"), RangeEnd: []byte("/registry/pods0"), Limit: 500},
			"count": {Key: []byte("/registry/pods/"), RangeEnd: []byte("/registry/pods0"), CountOnly: true},
		} {
			b.Run(fmt.Sprintf("%s-%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := f.store.Range(context.Background(), r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	f := newFixture(b, nil)
	putObjects(b, f, 300_000)
	b.ResetTimer()
	for b.Loop() {
		f.reopen()
	}
}
