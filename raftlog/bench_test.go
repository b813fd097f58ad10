// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// sink applies nothing and answers everything.
type sink struct{ index uint64 }

func (s *sink) Applied() (uint64, *raftpb.ConfState) { return 0, nil }

func (s *sink) Apply(entries []Entry) []Result {
	results := make([]Result, len(entries))
	for i, e := range entries {
		results[i].ID = binary.BigEndian.Uint64(e.Data)
	}
	return results
}

func (s *sink) ApplyEmpty(index, term uint64)           {}
func (s *sink) CheckConfChange(ConfChange) error        { return nil }
func (s *sink) SnapshotData() ([]byte, error)           { return nil, nil }
func (s *sink) Persist(context.Context) (uint64, error) { return 1 << 62, nil }

func (s *sink) OpenSnapshot(context.Context, uint64, uint64) (*StateSnapshot, error) { return nil, nil }
func (s *sink) Restore(context.Context, *raftpb.Snapshot) error                      { return nil }

func (s *sink) ApplyConfChange(ConfChange, *raftpb.ConfState) error { return nil }

// BenchmarkPropose measures a proposal of 1 KiB with clients that each wait for their last one.
func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 2, 10, 100, 1000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			var saves, saved atomic.Int64
			opts := soloOptions(b.TempDir())
			opts.UnsafeNoFsync = false
			opts.Events.Saved = func(i SaveInfo) { saves.Add(1); saved.Add(int64(i.Entries)) }
			l, err := Open(opts, &sink{})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			if err := l.ReadIndex(ctx); err != nil {
				b.Fatal(err)
			}
			saves.Store(0)
			saved.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for {
						id := next.Add(1)
						if id > int64(b.N) {
							return
						}
						data := make([]byte, 1024)
						binary.BigEndian.PutUint64(data, uint64(id))
						if _, err := l.Propose(ctx, uint64(id), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(saved.Load())/float64(max(1, saves.Load())), "entries/save")
			if err := l.Stop(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}
