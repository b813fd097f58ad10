// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/wire"
)

// transferRenumbered is transferQuietly by a file that numbers its rows anew, as one does
// that was made of what an etcd sent.
func (p *pairOfStores) transferRenumbered() {
	p.t.Helper()
	index, err := p.saveBackend(p.file)
	if err == nil {
		err = ImportBackend(context.Background(), p.file, wallClock{})
	}
	if err == nil {
		err = p.behind.store.Restore(context.Background(), p.file)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.behind.index = index
}

// renumbered returns a pair whose leader's rows get lower numbers by a backend file.
func renumbered(t *testing.T) *pairOfStores {
	p := newPair(t, nil)
	for i := range 50 {
		p.both(put("old", fmt.Sprint(i)))
	}
	p.both(compactAt(p.store.Revision()))
	return p
}

// TestQueuedEventsOverRenumberedRows wants events that wait for their client, with their
// values in the database alone, to be found there although it numbers its rows anew.
func TestQueuedEventsOverRenumberedRows(t *testing.T) {
	p := renumbered(t)
	p.both(put("a", "before"))
	stream := p.behind.store.NewWatchStream()
	defer stream.Close()
	ctx := context.Background()
	if _, err := stream.Watch(ctx, WatchRequest{ID: 1, Key: []byte("a"), PrevKV: true}); err != nil {
		t.Fatal(err)
	}
	p.both(put("a", "1"))
	p.both(del("a", ""))
	if _, err := p.behind.store.Persist(ctx); err != nil {
		t.Fatal(err)
	}
	p.must(put("a", "2"))
	p.transferRenumbered()
	if b, err := stream.Next(ctx); err != nil || b.Kind != BatchCreated {
		t.Fatalf("%+v %v", b, err)
	}
	var got, before []string
	for len(got) < 3 {
		b, err := stream.Next(ctx)
		if err != nil || b.Kind != BatchEvents {
			t.Fatalf("after %q: %+v %v", got, b, err)
		}
		got = append(got, eventStrings(t, b)...)
		for _, data := range b.Events {
			var e mvccpb.Event
			if err := proto.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			before = append(before, string(e.GetPrevKv().GetValue()))
		}
	}
	if want := []string{"put a=1@53/2", "delete a@54", "put a=2@55/1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if want := []string{"before", "1", ""}; !slices.Equal(before, want) {
		t.Errorf("before: %q, want %q", before, want)
	}
}

// TestOldViewsOverRenumberedRows has somebody read who began before a restore.
func TestOldViewsOverRenumberedRows(t *testing.T) {
	p := renumbered(t)
	for i := range 50 {
		p.both(put(fmt.Sprint("k", i), "v"))
	}
	rev := p.behind.store.Revision()
	want := p.read(rev, "k", "l")
	hash, err := p.store.HashKV(context.Background(), rev)
	if err != nil {
		t.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan struct{})
	started := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			if n == 1 {
				close(started)
			}
			select {
			case <-end:
				return
			default:
			}
			resp, err := p.behind.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Revision: rev})
			if err != nil {
				t.Errorf("range: %v", err)
				return
			}
			if got := kvStrings(t, resp); !slices.Equal(got, want) {
				t.Errorf("range: %q, want %q", got, want)
			}
			got, err := p.behind.store.HashKV(context.Background(), rev)
			if err != nil || got.Hash != hash.Hash {
				t.Errorf("hash: %+v %v, want %+v", got, err, hash)
				return
			}
		}
	}()
	<-started
	for range 10 {
		p.must(put("other", "x"))
		p.transferRenumbered()
	}
	close(end)
	<-done
}

// TestStreamOverRenumberedRows wants a stream to go on at its revision.
func TestStreamOverRenumberedRows(t *testing.T) {
	p := renumbered(t)
	for i := range 2 * firstChunkKeys {
		p.both(put(fmt.Sprint("k", i), "v"))
	}
	if _, err := p.behind.store.Persist(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := p.read(0, "k", "l")
	var got []string
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	err := p.behind.store.RangeStream(context.Background(), all, 1<<20, func(resp *wire.RangeResponse) error {
		if len(got) == 0 {
			p.must(put("k", "later"))
			p.transferRenumbered()
		}
		got = append(got, kvStrings(t, resp)...)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}
