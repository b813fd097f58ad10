// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/wire"
)

func kvString(kv wire.KeyValue) string {
	return fmt.Sprintf("%s=%.8s@%d/%d", kv.Key, kv.Value, kv.ModRevision, kv.Version)
}

// history is the obvious MVCC store: the whole keyspace after each revision.
type history struct {
	states []map[string]wire.KeyValue // by revision; 0 and 1 are empty
	events [][]string                 // by revision
}

func newHistory() *history {
	return &history{states: []map[string]wire.KeyValue{{}, {}}, events: make([][]string, 2)}
}

func (h *history) rev() int64 { return int64(len(h.states) - 1) }

func (h *history) step(change func(state map[string]wire.KeyValue, rev int64) []string) {
	next := make(map[string]wire.KeyValue)
	for k, v := range h.states[len(h.states)-1] {
		next[k] = v
	}
	if events := change(next, h.rev()+1); len(events) > 0 {
		h.states = append(h.states, next)
		h.events = append(h.events, events)
	}
}

func (h *history) put(key, value string) {
	h.step(func(state map[string]wire.KeyValue, rev int64) []string {
		kv := wire.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: rev, ModRevision: rev, Version: 1}
		if old, ok := state[key]; ok {
			kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		}
		state[key] = kv
		return []string{"put " + kvString(kv)}
	})
}

func (h *history) deleteRange(lo, hi string) {
	h.step(func(state map[string]wire.KeyValue, rev int64) (events []string) {
		for _, k := range sortedKeys(state) {
			if k >= lo && k < hi {
				delete(state, k)
				events = append(events, fmt.Sprintf("delete %s@%d", k, rev))
			}
		}
		return events
	})
}

func sortedKeys(state map[string]wire.KeyValue) []string {
	var keys []string
	for k := range state {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (h *history) read(rev int64) (out []string) {
	for _, k := range sortedKeys(h.states[rev]) {
		out = append(out, kvString(h.states[rev][k]))
	}
	return out
}

// randomOp applies the same random write to both.
func randomOp(rng *rand.Rand, f *fixture, h *history) *pb.InternalRaftRequest {
	key := fmt.Sprintf("/k/%02d", rng.IntN(40))
	if rng.IntN(4) == 0 {
		end := fmt.Sprintf("/k/%02d", rng.IntN(40))
		if end <= key {
			end = key + "\x00"
		}
		h.deleteRange(key, end)
		return del(key, end)
	}
	value := fmt.Sprintf("v%d-%0*d", h.rev(), rng.IntN(200)+1, 0)
	h.put(key, value)
	return put(key, value)
}

// TestHistory compares every readable revision with the obvious store while
// writes, compactions, restarts and a cache of a few values go on.
func TestHistory(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			f := newFixture(t, func(o *Options) { o.CacheBytes, o.CompactionBatch = 2000, 7 })
			h := newHistory()
			compacted := int64(1)
			for step := range 400 {
				f.must(randomOp(rng, f, h))
				switch rng.IntN(60) {
				case 0:
					f.reopen()
				case 1:
					if rev := compacted + rng.Int64N(h.rev()-compacted+1); rev > compacted {
						compacted = rev
						f.compact(rev)
					}
				}
				if got := f.store.Revision(); got != h.rev() {
					t.Fatalf("step %d: revision %d, want %d", step, got, h.rev())
				}
				rev := compacted + rng.Int64N(h.rev()-compacted+1)
				if got, want := f.read(rev, "\x00", "\x00"), h.read(rev); !slices.Equal(got, want) {
					t.Fatalf("step %d: at revision %d\n got %v\nwant %v", step, rev, got, want)
				}
				checkCounts(t, f, h, rev)
			}
			_, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Revision: h.rev() + 1})
			if !isError(err, ErrFutureRevision) {
				t.Errorf("range above the current revision: %v", err)
			}
			_, err = f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Revision: compacted - 1})
			if compacted > 1 && !isError(err, ErrCompacted) {
				t.Errorf("range below the compacted revision: %v", err)
			}
		})
	}
}

// checkCounts reads the revision in pages, whose counts are of all that is left.
func checkCounts(t *testing.T, f *fixture, h *history, rev int64) {
	t.Helper()
	want := h.read(rev)
	key, left := []byte{0}, len(want)
	for {
		resp, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: key, RangeEnd: []byte{0}, Revision: rev, Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Count != int64(left) || resp.More != (left > 7) {
			t.Fatalf("page at %q of revision %d: count %d more %v, want %d left", key, rev, resp.Count, resp.More, left)
		}
		left -= len(resp.KVs)
		if !resp.More {
			return
		}
		last, err := wire.ParseKeyValue(resp.KVs[len(resp.KVs)-1])
		if err != nil {
			t.Fatal(err)
		}
		key = append(slices.Clone(last.Key), 0)
	}
}

// eventStrings decodes a batch's events.
func eventStrings(t testing.TB, b WatchBatch) (out []string) {
	t.Helper()
	for _, data := range b.Events {
		var e mvccpb.Event
		if err := proto.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == mvccpb.Event_DELETE {
			out = append(out, fmt.Sprintf("delete %s@%d", e.Kv.Key, e.Kv.ModRevision))
			continue
		}
		out = append(out, "put "+kvString(wire.KeyValue{
			Key: e.Kv.Key, Value: e.Kv.Value, ModRevision: e.Kv.ModRevision, Version: e.Kv.Version,
		}))
	}
	return out
}

// lastRevision is that of a batch's last event.
func lastRevision(t testing.TB, b WatchBatch) int64 {
	t.Helper()
	var e mvccpb.Event
	if err := proto.Unmarshal(b.Events[len(b.Events)-1], &e); err != nil {
		t.Fatal(err)
	}
	return e.Kv.ModRevision
}

// TestWatch starts watchers at random revisions while writes go on, with
// bounds so tight that they fall behind and come back, and wants every event
// once, in order, in whole revisions, and progress never ahead of them.
func TestWatch(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			f := newFixture(t, func(o *Options) {
				o.EventRingEvents, o.StreamQueueBytes, o.StreamQueueItems = 20, 1500, 8
			})
			h := newHistory()
			for range 100 {
				f.must(randomOp(rng, f, h))
			}
			stream := f.store.NewWatchStream()
			defer stream.Close()
			start := 2 + rng.Int64N(h.rev()-1)
			ctx := context.Background()
			if _, err := stream.Watch(ctx, WatchRequest{ID: 7, Key: []byte("/k/"), End: []byte("/k0"), StartRevision: start}); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			target := make(chan int64, 1)
			go func() {
				defer close(done)
				for range 300 {
					f.must(randomOp(rng, f, h))
				}
				target <- h.rev()
			}()
			got, seen, end := []string(nil), start-1, int64(-1)
			for end < 0 || seen < end {
				b, err := stream.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				switch b.Kind {
				case BatchEvents:
					last := lastRevision(t, b)
					if last <= seen || b.Revision < last {
						t.Fatalf("batch at revision %d, up to revision %d, after revision %d", b.Revision, last, seen)
					}
					got, seen = append(got, eventStrings(t, b)...), last
				case BatchProgress:
					if b.Revision < seen {
						t.Fatalf("progress at revision %d after revision %d", b.Revision, seen)
					}
					seen = b.Revision
				}
				select {
				case end = <-target:
				default:
				}
				stream.Progress(7)
			}
			<-done
			var want []string
			for rev := start; rev <= end; rev++ {
				want = append(want, h.events[rev]...)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("from revision %d: %d events, want %d", start, len(got), len(want))
			}
		})
	}
}

// TestWatchCompacted wants a start below the compacted revision cancelled with it.
func TestWatchCompacted(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 10 {
		f.must(put("a", fmt.Sprint(i)))
	}
	f.compact(6)
	stream := f.store.NewWatchStream()
	defer stream.Close()
	ctx := context.Background()
	if _, err := stream.Watch(ctx, WatchRequest{Key: []byte("a"), StartRevision: 5}); err != nil {
		t.Fatal(err)
	}
	if b, err := stream.Next(ctx); err != nil || b.Kind != BatchCreated {
		t.Fatalf("first batch %+v, %v", b, err)
	}
	b, err := stream.Next(ctx)
	if err != nil || b.Kind != BatchCompacted || b.CompactRevision != 6 {
		t.Fatalf("second batch %+v, %v", b, err)
	}
	if err := stream.Cancel(ctx, 0); !isError(err, ErrWatcherNotFound) {
		t.Errorf("the cancelled watcher is still there: %v", err)
	}
	id, err := stream.Watch(ctx, WatchRequest{Key: []byte("a"), StartRevision: 6})
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for len(events) < 6 {
		b, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b.Kind == BatchEvents && b.WatchID == id {
			events = append(events, eventStrings(t, b)...)
		}
	}
	if want := "put a=4@6/5"; events[0] != want {
		t.Errorf("first event %q, want %q", events[0], want)
	}
}

// TestLeases covers attachment, revocation in one revision, and recovery.
func TestLeases(t *testing.T) {
	f := newFixture(t, nil)
	grant := func(id, ttl int64) error {
		_, err := f.apply(&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: ttl}})
		return err
	}
	if err := grant(1, 60); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[error]error{
		ErrLeaseExists:      grant(1, 5),
		ErrLeaseNotFound:    grant(0, 5),
		ErrLeaseTTLTooLarge: grant(2, MaxLeaseTTL+1),
	} {
		if !isError(err, want) {
			t.Errorf("grant: %v, want %v", err, want)
		}
	}
	leased := func(key string, id int64) *pb.InternalRaftRequest {
		return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Lease: id}}
	}
	if _, err := f.apply(leased("x", 9)); !isError(err, ErrLeaseNotFound) {
		t.Errorf("put with an unknown lease: %v", err)
	}
	f.must(leased("a", 1))
	f.must(leased("b", 1))
	f.must(leased("c", 1))
	f.must(put("c", "free")) // detaches
	f.must(del("b", ""))
	f.must(leased("b", 1))
	f.must(&pb.InternalRaftRequest{LeaseCheckpoint: &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: 1, Remaining_TTL: 40}}}})
	f.reopen()
	if l, ok := f.store.Lease(1); !ok || l != (Lease{ID: 1, TTL: 60, Remaining: 40}) {
		t.Fatalf("lease after restart: %+v %v", l, ok)
	}
	if got := f.store.LeaseKeys(1); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("keys after restart: %v", got)
	}
	before := f.store.Revision()
	f.must(&pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}})
	if got := f.store.Revision(); got != before+1 {
		t.Errorf("revoking moved the revision from %d to %d", before, got)
	}
	if got := f.read(0, "\x00", "\x00"); !slices.Equal(got, []string{"c=free@5/2"}) {
		t.Errorf("left after revoking: %v", got)
	}
	f.reopen()
	if got := f.store.Leases(); len(got) != 0 {
		t.Errorf("leases after restart: %v", got)
	}
}

// TestReplay applies entries again that SQLite has already: nothing changes.
func TestReplay(t *testing.T) {
	f := newFixture(t, nil)
	var log []Entry
	for i := range 20 {
		e := f.entry(put(fmt.Sprintf("k%d", i%5), fmt.Sprint(i)))
		log = append(log, e)
	}
	if _, err := f.store.Apply(log); err != nil {
		t.Fatal(err)
	}
	before, err := f.store.HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	f.reopen()
	if _, err := f.store.Apply(log); err != nil {
		t.Fatal(err)
	}
	after, err := f.store.HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("hash %+v before and %+v after replay", before, after)
	}
}
