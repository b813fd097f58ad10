// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/metrics"
	"keelson.io/keelson/sqlstore/sqldb"
)

// save writes a snapshot of the store into a file and returns its index.
func (f *fixture) save(file string) uint64 {
	f.t.Helper()
	snap, err := f.store.OpenSnapshot(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	defer snap.Body.Close()
	out, err := os.Create(file)
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := io.Copy(out, snap.Body)
	if err := errors.Join(err, out.Close()); err != nil {
		f.t.Fatal(err)
	}
	if n != snap.Size {
		f.t.Fatalf("%d bytes, and %d were told", n, snap.Size)
	}
	return snap.Index
}

// pairOfStores are a leader and one that falls behind it.
type pairOfStores struct {
	*fixture // the leader
	behind   *fixture
	file     string
}

func newPair(t *testing.T, change func(*Options)) *pairOfStores {
	return &pairOfStores{newFixture(t, change), newFixture(t, change), filepath.Join(t.TempDir(), "received.snap.db")}
}

// both applies a request to both.
func (p *pairOfStores) both(r *pb.InternalRaftRequest) {
	p.t.Helper()
	p.must(proto.CloneOf(r))
	p.behind.must(r)
}

// transfer brings the one that is behind up to the leader by a snapshot.
func (p *pairOfStores) transfer() {
	p.t.Helper()
	index := p.save(p.file)
	if err := VerifySnapshot(context.Background(), p.file, index); err != nil {
		p.t.Fatal(err)
	}
	if err := p.behind.store.Restore(context.Background(), p.file); err != nil {
		p.t.Fatal(err)
	}
	p.behind.index = index
	p.same()
}

// same checks that both are equal, and stay so.
func (p *pairOfStores) same() {
	p.t.Helper()
	ctx := context.Background()
	for range 2 {
		a, err := p.store.HashKV(ctx, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		b, err := p.behind.store.HashKV(ctx, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		if a != b {
			p.t.Fatalf("leader %+v, other %+v", a, b)
		}
		if d := cmp.Diff(p.read(0, "\x00", "\x00"), p.behind.read(0, "\x00", "\x00")); d != "" {
			p.t.Fatal(d)
		}
		if d := cmp.Diff(p.store.Leases(), p.behind.store.Leases()); d != "" {
			p.t.Fatal(d)
		}
		if d := cmp.Diff(p.store.Members(), p.behind.store.Members()); d != "" {
			p.t.Fatal(d)
		}
		p.both(put("after", fmt.Sprint(p.index)))
	}
}

func TestSnapshotIsOfOneEntry(t *testing.T) {
	f := newFixture(t, nil)
	conf := []byte("conf state")
	f.index++
	if err := f.store.ApplyMembership(f.index, 3, MembershipChange{ConfState: conf, Put: &Member{ID: 7, Name: "seven"}}); err != nil {
		t.Fatal(err)
	}
	f.index++
	if err := f.store.ApplyMembership(f.index, 3, MembershipChange{Remove: 9}); err != nil {
		t.Fatal(err)
	}
	f.must(&pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}})
	putObjects(t, f, 500)
	snap, err := f.store.OpenSnapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Body.Close()
	file := filepath.Join(t.TempDir(), "s")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	want, rev := f.read(0, "\x00", "\x00"), f.store.Revision()
	buf := make([]byte, 5000)
	for i := 0; ; i++ {
		n, err := snap.Body.Read(buf)
		if _, err := out.Write(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f.must(put(fmt.Sprintf("/registry/later/%d", i), "not in it"))
		if i%10 == 0 {
			if _, err := f.store.Persist(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if string(snap.ConfState) != string(conf) || snap.ClusterVersion != "3.7.0" || snap.Term != 1 ||
		len(snap.Members) != 1 || snap.Members[0].Name != "seven" || !slices.Equal(snap.Removed, []uint64{9}) {
		t.Errorf("%+v", snap)
	}
	if err := VerifySnapshot(context.Background(), file, snap.Index); err != nil {
		t.Fatal(err)
	}
	if err := VerifySnapshot(context.Background(), file, snap.Index+1); err == nil {
		t.Error("a snapshot of another entry passes")
	}
	opts := f.opts
	opts.DB.Path = file
	s, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	other := &fixture{t: t, store: s}
	if d := cmp.Diff(want, other.read(0, "\x00", "\x00")); d != "" || s.Revision() != rev {
		t.Errorf("revision %d, want %d, %s", s.Revision(), rev, d)
	}
}

func TestSnapshotsEnd(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.DB.Copies = 1 })
	putObjects(t, f, 200)
	open := func(ctx context.Context) (*Snapshot, error) { return f.store.OpenSnapshot(ctx) }
	first, err := open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, first.Body, 30_000); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := open(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more than may be open: %v", err)
	}
	if err := errors.Join(first.Body.Close(), first.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, first.Body); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("reading a closed one: %v", err)
	}
	second, err := open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := open(context.Background())
		waiting <- err
	}()
	if err := f.store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("waiting while the store closes: %v", err)
	}
	if _, err := io.Copy(io.Discard, second.Body); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("reading after the store closed: %v", err)
	}
}

// TestRestore brings a store up in which everything that a restore has to care for
// is going on.
func TestRestore(t *testing.T) {
	var mu sync.Mutex
	var leases []LeaseEvent
	sizes := map[string]int64{}
	p := newPair(t, nil)
	p.behind.opts.OnLease = func(e []LeaseEvent) { leases = append(leases, e...) }
	p.behind.opts.Observe = func(c Change) {
		mu.Lock()
		defer mu.Unlock()
		if c.Kind == ChangeReset {
			clear(sizes)
			return
		}
		sizes[c.Key] = c.NewSize
	}
	p.behind.reopen()
	grant := func(id int64) *pb.InternalRaftRequest {
		return &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: 60}}
	}
	p.both(grant(1))
	p.both(put("gone", "x"))
	p.both(put("kept", "1"))
	old := p.behind.store.view.Load()
	oldRev := p.behind.store.Revision()
	resp, err := p.behind.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Limit: 1})
	if err != nil || !resp.More {
		t.Fatal(resp, err)
	}
	p.must(grant(2))
	p.must(&pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}})
	p.must(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("leased"), Lease: 2}})
	p.must(&pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE}})
	p.must(del("gone", ""))
	p.must(&pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE}})
	p.must(put("kept", "2"))
	open, err := p.behind.store.OpenSnapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	leases = nil
	p.transfer()
	if _, err := io.Copy(io.Discard, open.Body); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("a snapshot of the store before: %v", err)
	}
	want := []LeaseEvent{{Kind: LeaseReset}, {Kind: LeaseGranted, Lease: Lease{ID: 2, TTL: 60}}}
	if d := cmp.Diff(want, leases); d != "" {
		t.Error(d)
	}
	if got := p.behind.store.LeaseKeys(2); !slices.Equal(got, []string{"leased"}) {
		t.Errorf("keys of the lease: %q", got)
	}
	if _, gone := sizes["gone"]; !gone || sizes["gone"] != 0 || sizes["kept"] == 0 {
		t.Errorf("observed: %v", sizes)
	}
	// Who still holds the old view sees what it saw.
	r, err := p.behind.store.rangeOn(context.Background(), old, &pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Revision: oldRev}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := kvStrings(t, r); !slices.Equal(got, []string{"gone=x@2/1", "kept=1@3/1"}) {
		t.Errorf("the old view shows %q", got)
	}
	p.behind.reopen()
	p.same()
	if err := p.behind.store.Restore(context.Background(), p.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	stale := filepath.Join(t.TempDir(), "stale")
	p.save(stale)
	p.both(put("newer", "1"))
	if err := p.behind.store.Restore(context.Background(), stale); err == nil {
		t.Error("an older snapshot was restored")
	}
	p.same()
}

// TestRestoreOverCompaction: one is under way on either side.
func TestRestoreOverCompaction(t *testing.T) {
	p := newPair(t, func(o *Options) { o.CompactionBatch = 3 })
	for i := range 400 {
		p.both(put(fmt.Sprintf("key-%d", i%40), fmt.Sprint(i)))
	}
	waiting := p.behind.must(compactAt(300)).(*CompactionResult).Done
	p.must(compactAt(300))
	for i := range 50 {
		p.must(put(fmt.Sprintf("key-%d", i%40), fmt.Sprint(i)))
	}
	p.must(compactAt(420))
	p.transfer()
	select {
	case <-waiting:
	case <-time.After(10 * time.Second):
		t.Fatal("a compaction of before the restore never ends")
	}
	if got := p.behind.store.CompactRevision(); got != 420 {
		t.Errorf("compacted at %d", got)
	}
	<-p.must(compactAt(430)).(*CompactionResult).Done
	<-p.behind.must(compactAt(430)).(*CompactionResult).Done
	p.same()
	_, err := p.behind.store.rangeOn(context.Background(), p.behind.store.view.Load(), &pb.RangeRequest{Key: []byte("key-1"), Revision: 400}, nil)
	if !errors.Is(err, ErrCompacted) {
		t.Errorf("below the compacted revision: %v", err)
	}
}

// TestTimings: what is timed for etcd's metrics is.
func TestTimings(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := newFixture(t, func(o *Options) {
		o.Metrics = metrics.NewStore(registry, func() metrics.StoreStats { return metrics.StoreStats{} })
	})
	putObjects(t, f, 300)
	f.must(del("\x00", "\x00"))
	f.compact(f.store.Revision())
	f.save(filepath.Join(t.TempDir(), "s"))
	f.store.Defragment()
	f.store.Defragment()
	deadline := time.Now().Add(20 * time.Second)
	for f.store.defragmenting.Load() {
		if time.Now().After(deadline) {
			t.Fatal("never ends")
		}
		time.Sleep(time.Millisecond)
	}
	if free := f.store.Stats().DB.FreeBytes; free != 0 {
		t.Errorf("%d bytes are free", free)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]uint64{}
	for _, family := range families {
		seen[family.GetName()] = family.GetMetric()[0].GetHistogram().GetSampleCount()
	}
	for _, name := range []string{"etcd_disk_backend_snapshot_duration_seconds", "etcd_disk_backend_defrag_duration_seconds"} {
		if seen[name] != 1 {
			t.Errorf("%s has %d samples", name, seen[name])
		}
	}
}
