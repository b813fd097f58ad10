// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// rivalReads reads a fixed revision again and again, as it was, until the end.
type rivalReads struct {
	store *Store
	key   string
	rev   int64
	want  []string
}

func (r rivalReads) run(t *testing.T, end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		default:
		}
		resp, err := r.store.Range(context.Background(), &pb.RangeRequest{Key: []byte(r.key), RangeEnd: []byte("/k0"), Revision: r.rev})
		if errors.Is(err, ErrCompacted) {
			return
		}
		if err != nil {
			t.Errorf("at revision %d: %v", r.rev, err)
			return
		}
		if got := kvStrings(t, resp); !slices.Equal(got, r.want) {
			t.Errorf("at revision %d: %q, want %q", r.rev, got, r.want)
			return
		}
		if _, err := r.store.HashKV(context.Background(), 0); err != nil {
			t.Errorf("hash: %v", err)
			return
		}
	}
}

// TestWatchOverRestore has watchers of all kinds on a store that falls behind and
// is restored again and again, and wants every event once and in order of each.
func TestWatchOverRestore(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { watchOverRestores(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

func watchOverRestores(t *testing.T, rng *rand.Rand) {
	p := newPair(t, func(o *Options) {
		o.EventRingEvents, o.StreamQueueBytes, o.StreamQueueItems = 20, 1500, 8
		o.CacheBytes = 2000
	})
	h := newHistory()
	both := func(n int) {
		for range n {
			p.both(randomOp(rng, p.fixture, h))
		}
	}
	both(100)
	stream := p.behind.store.NewWatchStream()
	defer stream.Close()
	starts := []int64{0, 2, 50, h.rev() + 120} // from now, lagging, lagging, from the future
	for id, start := range starts {
		r := WatchRequest{ID: int64(id + 1), Key: []byte("/k/"), End: []byte("/k0"), StartRevision: start, PrevKV: id%2 == 0}
		if _, err := stream.Watch(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	starts[0] = h.rev() + 1
	got := readWatchers(t, stream, starts)
	for round := range 5 {
		both(10 + rng.IntN(20))
		end := make(chan struct{})
		var readers sync.WaitGroup
		rev := h.rev() - rng.Int64N(5)
		rival := rivalReads{p.behind.store, "/k/", rev, h.read(rev)}
		readers.Go(func() { rival.run(t, end) })
		for range 40 + rng.IntN(40) {
			p.must(randomOp(rng, p.fixture, h))
		}
		if round == 3 { // up to what watchers have seen at least: none is cancelled
			got.waitFor(rev)
			p.must(compactAt(rev))
		}
		p.transferQuietly()
		close(end)
		readers.Wait()
	}
	both(30)
	got.waitFor(h.rev())
	for i, start := range starts {
		var want []string
		for rev := start; rev <= h.rev(); rev++ {
			want = append(want, h.events[rev]...)
		}
		if events := got.of(i); !slices.Equal(events, want) {
			t.Errorf("watcher %d from %d: %d events, want %d", i, start, len(events), len(want))
		}
	}
}

// transferQuietly is transfer without writes that history does not know.
func (p *pairOfStores) transferQuietly() {
	p.t.Helper()
	index := p.save(p.file)
	if err := p.behind.store.Restore(context.Background(), p.file); err != nil {
		p.t.Fatal(err)
	}
	p.behind.index = index
}

// watched is what watchers 1, 2, ... of a stream have been told.
type watched struct {
	starts []int64
	mu     sync.Mutex
	events [][]string
	seen   []int64 // revision up to which each has been told
	more   sync.Cond
}

func readWatchers(t *testing.T, stream *WatchStream, starts []int64) *watched {
	w := &watched{starts: starts, events: make([][]string, len(starts)), seen: make([]int64, len(starts))}
	w.more.L = &w.mu
	go func() {
		for n := 0; ; n++ {
			b, err := stream.Next(context.Background())
			if err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("next: %v", err)
				}
				return
			}
			w.take(t, b)
			if n%3 == 0 { // not so many that the queue is never empty
				stream.Progress(int64(n/3%len(starts) + 1))
			}
		}
	}()
	return w
}

func (w *watched) take(t *testing.T, b WatchBatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, seen := b.WatchID-1, b.Revision
	switch b.Kind {
	case BatchEvents:
		if seen = lastRevision(t, b); seen <= w.seen[i] {
			t.Errorf("watcher %d is told revision %d after %d", i, seen, w.seen[i])
		}
		w.events[i] = append(w.events[i], eventStrings(t, b)...)
	case BatchProgress:
		if b.Revision < w.seen[i] {
			t.Errorf("progress of watcher %d at %d after %d", i, b.Revision, w.seen[i])
		}
	case BatchCreated:
		return
	default:
		t.Errorf("watcher %d ended: %+v", i, b)
	}
	w.seen[i] = seen
	w.more.Broadcast()
}

// waitFor waits until all watchers that are to be told of rev have been.
func (w *watched) waitFor(rev int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.starts {
		for w.starts[i] <= rev && w.seen[i] < rev {
			w.more.Wait()
		}
	}
}

func (w *watched) of(i int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events[i])
}

// TestWatchersBehindARestoredCompaction are told so.
func TestWatchersBehindARestoredCompaction(t *testing.T) {
	p := newPair(t, nil)
	p.both(put("a", "1"))
	stream := p.behind.store.NewWatchStream()
	defer stream.Close()
	ctx := context.Background()
	for _, r := range []WatchRequest{{ID: 1, Key: []byte("a")}, {ID: 2, Key: []byte("a"), End: []byte("b"), StartRevision: 20}} {
		if _, err := stream.Watch(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		p.must(put("a", fmt.Sprint(i)))
	}
	p.must(compactAt(8))
	p.transferQuietly()
	for _, want := range []WatchBatch{
		{Kind: BatchCreated, WatchID: 1, Revision: 2}, {Kind: BatchCreated, WatchID: 2, Revision: 2},
		{Kind: BatchCompacted, WatchID: 1, Revision: 12, CompactRevision: 8},
	} {
		b, err := stream.Next(ctx)
		if err != nil || b.Kind != want.Kind || b.WatchID != want.WatchID || b.Revision != want.Revision || b.CompactRevision != want.CompactRevision {
			t.Fatalf("%+v %v, want %+v", b, err, want)
		}
	}
	for i := range 10 {
		p.both(put("a", fmt.Sprint("later", i)))
	}
	b, err := stream.Next(ctx)
	if err != nil || b.WatchID != 2 || b.Revision != 20 {
		t.Fatalf("from the future: %+v %v", b, err)
	}
}
