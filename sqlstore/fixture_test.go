// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// wallClock is the machine's clock; tests never assert on it.
type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// fixture is a store with a log of its own: it numbers the entries.
type fixture struct {
	t     testing.TB
	opts  Options
	store *Store
	index uint64
}

func newFixture(t testing.TB, change func(*Options)) *fixture {
	f := &fixture{t: t, opts: Options{DB: sqldb.Options{
		Path: filepath.Join(t.TempDir(), "keelson.db"), Clock: wallClock{},
	}}}
	if change != nil {
		change(&f.opts)
	}
	f.open()
	t.Cleanup(func() { _ = f.store.Close(context.Background()) })
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	s, err := Open(context.Background(), f.opts)
	if err != nil {
		f.t.Fatal(err)
	}
	f.store = s
	f.index, _ = s.Applied()
}

func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.store.Close(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

// entry encodes a request as the log's next entry.
func (f *fixture) entry(r *pb.InternalRaftRequest) Entry {
	f.t.Helper()
	f.index++
	r.Header = &pb.RequestHeader{ID: f.index}
	data, err := proto.Marshal(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return Entry{Index: f.index, Term: 1, Data: data}
}

func (f *fixture) apply(r *pb.InternalRaftRequest) (any, error) {
	f.t.Helper()
	out, err := f.store.Apply([]Entry{f.entry(r)})
	if err != nil {
		f.t.Fatal(err)
	}
	if out[0].ID != f.index {
		f.t.Fatalf("outcome has id %d, want %d", out[0].ID, f.index)
	}
	return out[0].Response, out[0].Err
}

func (f *fixture) must(r *pb.InternalRaftRequest) any {
	f.t.Helper()
	resp, err := f.apply(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

func put(key, value string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func del(key, end string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}
}

func compactAt(rev int64) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Compaction: &pb.CompactionRequest{Revision: rev}}
}

// compact applies a compaction and waits until its rows are gone.
func (f *fixture) compact(rev int64) {
	f.t.Helper()
	<-f.must(compactAt(rev)).(*CompactionResult).Done
}

// read returns what a range at rev shows, as key=value@mod/version strings.
func (f *fixture) read(rev int64, key, end string) []string {
	f.t.Helper()
	resp, err := f.store.Range(context.Background(), &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end), Revision: rev})
	if err != nil {
		f.t.Fatal(err)
	}
	return kvStrings(f.t, resp)
}

func kvStrings(t testing.TB, resp *wire.RangeResponse) []string {
	t.Helper()
	var out []string
	for _, data := range resp.KVs {
		kv, err := wire.ParseKeyValue(data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, kvString(kv))
	}
	return out
}

func isError(err, want error) bool { return errors.Is(err, want) }
