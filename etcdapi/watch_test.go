// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watcher is a raw Watch stream, so that tests see every response.
type watcher struct {
	t      testing.TB
	stream pb.Watch_WatchClient
}

func (n *node) watch(ctx context.Context) *watcher {
	n.t.Helper()
	stream, err := pb.NewWatchClient(n.client().ActiveConnection()).Watch(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return &watcher{t: n.t, stream: stream}
}

func (w *watcher) ask(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watcher) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *watcher) cancel(id int64) {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watcher) progress() {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (w *watcher) next() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// brief is a response in one line, for comparison.
func brief(r *pb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.WatchId)
	for _, f := range []struct {
		name string
		set  bool
	}{{"created", r.Created}, {"canceled", r.Canceled}, {"fragment", r.Fragment}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	if r.CompactRevision != 0 {
		fmt.Fprintf(&b, " compacted=%d", r.CompactRevision)
	}
	if r.CancelReason != "" {
		fmt.Fprintf(&b, " %q", r.CancelReason)
	}
	for _, e := range r.Events {
		if e.Type == mvccpb.Event_DELETE {
			fmt.Fprintf(&b, " -%s@%d", e.Kv.Key, e.Kv.ModRevision)
		} else {
			fmt.Fprintf(&b, " %s=%.5s@%d", e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
		}
		if e.PrevKv != nil {
			fmt.Fprintf(&b, "(was %s)", e.PrevKv.Value)
		}
	}
	return b.String()
}

func (w *watcher) expect(want ...string) {
	w.t.Helper()
	for _, line := range want {
		if got := brief(w.next()); got != line {
			w.t.Fatalf("got  %s\nwant %s", got, line)
		}
	}
}

func mustPut(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(testContext(t), key, value); err != nil {
		t.Fatal(err)
	}
}

func TestWatchAnswers(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	w := n.watch(ctx)

	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.expect("0 created")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7, PrevKv: true})
	w.expect("7 created")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	w.expect(`-1 created canceled "mvcc: duplicate watch ID provided on the WatchStream"`)
	w.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")})
	w.expect(`-1 created canceled "mvcc: watcher range is empty"`)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1})
	w.expect(fmt.Sprintf("-1 created canceled %q", rpctypes.ErrCompacted.Error()))

	mustPut(t, c, "a", "1")
	got := map[string]bool{brief(w.next()): true, brief(w.next()): true}
	if !got["0 a=1@2"] || !got["7 a=1@2"] {
		t.Fatalf("events %v", got)
	}
	w.cancel(0)
	w.expect("0 canceled")
	w.cancel(99) // no answer
	mustPut(t, c, "a", "2")
	w.expect("7 a=2@3(was 1)")
	w.progress()
	r := w.next()
	if brief(r) != "-1" || r.Header.Revision != 3 || r.Header.MemberId != n.memberID || r.Header.ClusterId != n.clusterID {
		t.Fatalf("progress %v", r)
	}
}

func TestWatchRangesAndFilters(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	all, from, puts, deletes := n.watch(ctx), n.watch(ctx), n.watch(ctx), n.watch(ctx)
	all.create(&pb.WatchCreateRequest{RangeEnd: []byte{0}})
	from.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte{0}})
	puts.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}})
	deletes.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	for _, w := range []*watcher{all, from, puts, deletes} {
		w.expect("0 created")
	}
	mustPut(t, c, "a", "1")
	mustPut(t, c, "c", "1")
	if _, err := c.Delete(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	all.expect("0 a=1@2", "0 c=1@3", "0 -c@4")
	from.expect("0 c=1@3", "0 -c@4")
	puts.expect("0 a=1@2", "0 c=1@3")
	deletes.expect("0 -c@4")
}

func TestWatchHistory(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	for i := range 5 {
		mustPut(t, c, "a", fmt.Sprint(i))
	}
	w := n.watch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	w.expect("0 created")
	var events []*mvccpb.Event
	for len(events) < 3 {
		events = append(events, w.next().Events...)
	}
	for i, e := range events {
		if e.Kv.ModRevision != int64(4+i) {
			t.Fatalf("event %d is of revision %d", i, e.Kv.ModRevision)
		}
	}
	if _, err := c.Compact(ctx, 5); err != nil {
		t.Fatal(err)
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2, WatchId: 9})
	w.expect("9 created", "9 canceled compacted=5")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 8, WatchId: 9})
	w.expect("9 created")
	w.progress() // no answer: the watch starts in the future
	mustPut(t, c, "a", "x")
	mustPut(t, c, "a", "y")
	got := map[string]bool{}
	for range 3 {
		got[brief(w.next())] = true
	}
	if !got["0 a=x@7"] || !got["0 a=y@8"] || !got["9 a=y@8"] {
		t.Fatalf("events %v", got)
	}
}

// TestWatchRefusalsKeepTheirPlace: clients tell creations apart by their order.
func TestWatchRefusalsKeepTheirPlace(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	w := n.watch(testContext(t))
	const rounds = 300
	for i := range rounds {
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: int64(i + 1)})
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: int64(i + 1)})
	}
	for i := range rounds {
		w.expect(fmt.Sprintf("%d created", i+1),
			`-1 created canceled "mvcc: duplicate watch ID provided on the WatchStream"`)
	}
}

func TestWatchFragments(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{MaxRequestBytes: 64 << 10})
	c, ctx := n.client(), testContext(t)
	w, whole := n.watch(ctx), n.watch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), Fragment: true, PrevKv: true})
	whole.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true})
	w.expect("0 created")
	whole.expect("0 created")
	for i := range 20 {
		mustPut(t, c, fmt.Sprintf("k%02d", i), strings.Repeat("x", 60<<10))
		w.expect(fmt.Sprintf("0 k%02d=xxxxx@%d", i, i+2))
		whole.expect(fmt.Sprintf("0 k%02d=xxxxx@%d", i, i+2))
	}
	if _, err := c.Delete(ctx, "k", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	parts, events := 0, 0
	for more := true; more; parts++ {
		r := w.next()
		more = r.Fragment
		events += len(r.Events)
		if r.Header.Revision != 22 {
			t.Fatalf("part of revision %d", r.Header.Revision)
		}
	}
	if events != 20 || parts < 3 {
		t.Fatalf("%d events in %d parts", events, parts)
	}
	if r := whole.next(); len(r.Events) != 20 || r.Fragment {
		t.Fatalf("%d events, fragment %v", len(r.Events), r.Fragment)
	}
}

func TestWatchProgressNotify(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{WatchProgressInterval: 100 * time.Millisecond})
	c, ctx := n.client(), testContext(t)
	w := n.watch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.expect("0 created", "1 created")
	mustPut(t, c, "elsewhere", "x")
	for range 3 {
		if r := w.next(); brief(r) != "0" || r.Header.Revision < 1 {
			t.Fatalf("got %s", brief(r))
		}
	}
	eventually(t, "a notification of the newest revision", func() bool { return w.next().Header.Revision == 2 })
}

// TestUnreadWatchesHurtNobody opens many watches and reads nothing of them.
func TestUnreadWatchesHurtNobody(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	reader := n.watch(ctx)
	reader.create(&pb.WatchCreateRequest{Key: []byte("a")})
	reader.expect("0 created")

	idle, end := context.WithCancel(ctx)
	defer end()
	greedy := n.watch(idle)
	sent := make(chan int)
	go func() {
		count := 0
		for ; count < 10_000; count++ {
			r := &pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true}
			if greedy.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}) != nil {
				break
			}
		}
		sent <- count
	}()
	eventually(t, "many watchers", func() bool { return n.store.Stats().Watchers > 1000 })

	before := heap()
	value := strings.Repeat("v", 32<<10)
	for i := range 200 {
		mustPut(t, c, "a", value)
		reader.expect(fmt.Sprintf("0 a=vvvvv@%d", i+2))
	}
	if grown := heap() - before; grown > 128<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	end()
	<-sent
	eventually(t, "the watchers are gone", func() bool { return n.store.Stats().Watchers == 1 })
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestWatchEndsWithTheServer(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	w := n.watch(testContext(t))
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.expect("0 created")
	start := time.Now()
	n.close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := w.stream.Recv(); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCStopped) {
		t.Errorf("the stream ended with %v", err)
	}
}

// A client that has nothing more to ask is still told of events.
func TestWatchClientDone(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(testContext(t))
	w := n.watch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.expect("0 created")
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.client().Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	w.expect("0 a=1@2")
	cancel()
	eventually(t, "the watcher is gone", func() bool { return n.store.Stats().Watchers == 0 })
}
