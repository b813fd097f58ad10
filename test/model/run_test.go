// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/model"
)

// run drives the model and the servers with one stream of operations.
type run struct {
	t       *testing.T
	seed    uint64
	step    int
	op      operation
	store   *model.Store
	targets []*target
	streams *streams
	events  int // compared so far
	tally   tally
}

func newRun(t *testing.T, seed uint64, targets []*target) *run {
	r := &run{t: t, seed: seed, store: model.NewStore(), targets: targets, streams: &streams{}, tally: tally{}}
	r.openStreams()
	return r
}

// do carries out one operation on all sides and compares.
func (r *run) do(op operation) {
	r.t.Helper()
	r.op = op
	switch o := op.(type) {
	case watchCreate:
		r.watchCreate(o)
	case watchCancel:
		r.watchCancel(o)
	case watchProgress:
		r.watchProgress(o)
	case watchReopen:
		r.drain(r.streams.open[o.stream])
		r.closeStream(r.streams.open[o.stream])
		r.streams.open[o.stream] = r.openStream()
	case restart:
		r.restart()
	case *pb.CompactionRequest:
		r.settle()
		r.compare(op)
	default:
		r.compare(op)
	}
	r.step++
}

// compare asks the model and, at the same time, all servers.
func (r *run) compare(req operation) {
	r.t.Helper()
	want := ask(r.store, req)
	r.tally.add(req, want.err)
	got := r.each(func(i int) answer { return r.targets[i].ask(req) })
	r.check(want, got)
}

// each calls f for every server, at the same time.
func (r *run) each(f func(i int) answer) []answer {
	got := make([]answer, len(r.targets))
	var wg sync.WaitGroup
	for i := range r.targets {
		wg.Go(func() { got[i] = f(i) })
	}
	wg.Wait()
	return got
}

func (r *run) check(want answer, got []answer) {
	r.t.Helper()
	for _, a := range got {
		if !a.equal(want) {
			r.mismatch(want, got)
		}
	}
}

func (r *run) mismatch(want answer, got []answer) {
	r.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %v\n", "model", want)
	for i, tg := range r.targets {
		verdict := "as the model"
		if !got[i].equal(want) {
			verdict = "DIFFERENT"
		}
		fmt.Fprintf(&b, "%-8s %v (%s)\n", tg.name, got[i], verdict)
	}
	r.fatalf("%s", b.String())
}

// fatalf ends the test with all that is needed to see it again.
func (r *run) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("seed %d, step %d, revision %d, compacted %d: %s\n%s\nto see it again: go test ./test/model -run TestRandomOperations -seed=%d -ops=%d",
		r.seed, r.step, r.store.Revision(), r.store.CompactRevision(), describe(r.op),
		fmt.Sprintf(format, args...), r.seed, r.step+1)
}

func refusal(resp *pb.WatchResponse) error {
	if resp.Canceled {
		return errors.New(resp.CancelReason)
	}
	return nil
}

func (r *run) openStreams() {
	r.streams.open = nil
	for range streamCount {
		r.streams.open = append(r.streams.open, r.openStream())
	}
}

func (r *run) openStream() *stream {
	s := &stream{model: r.store.NewWatchStream(), watches: map[int64]*openWatch{}}
	for _, tg := range r.targets {
		s.records = append(s.records, tg.record())
	}
	return s
}

func (r *run) closeStream(s *stream) {
	s.model.Close()
	for _, rec := range s.records {
		rec.cancel()
	}
}

func (r *run) watchCreate(o watchCreate) {
	r.t.Helper()
	s := r.streams.open[o.stream]
	want, w := s.model.Create(o.WatchCreateRequest)
	r.tally.add(o.WatchCreateRequest, refusal(want))
	req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: o.WatchCreateRequest}}
	r.check(answer{msg: want}, r.each(func(i int) answer { return s.records[i].call(req) }))
	if w != nil {
		s.watches[w.ID] = &openWatch{w, o.StartRevision, r.store.Revision(), w.Start <= r.store.Revision()}
	}
}

// watchCancel waits for all events first: a server may drop what is under way.
func (r *run) watchCancel(o watchCancel) {
	r.t.Helper()
	s := r.streams.open[o.stream]
	req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: o.id}}}
	if w := s.watches[o.id]; w != nil {
		r.drainWatch(s, w)
	}
	want := s.model.Cancel(o.id)
	if want == nil {
		for i, rec := range s.records {
			if err := rec.stream.Send(req); err != nil {
				r.fatalf("%s: %v", r.targets[i].name, err)
			}
		}
		return
	}
	delete(s.watches, o.id)
	r.check(answer{msg: want}, r.each(func(i int) answer { return s.records[i].call(req) }))
}

func (r *run) watchProgress(o watchProgress) {
	r.t.Helper()
	s := r.streams.open[o.stream]
	for i, rec := range s.records {
		// The answer to an earlier question may come late.
		rev, err := rec.askProgress()
		if err != nil || rev > r.store.Revision() {
			r.fatalf("%s: progress at revision %d, error %v", r.targets[i].name, rev, err)
		}
	}
	r.drain(s)
}

func (r *run) drainAll() {
	r.t.Helper()
	for _, s := range r.streams.open {
		r.drain(s)
	}
}

// settle sees to it that no watch is still reading the past: a compaction would
// cancel it, or not, by who is faster. One that has found nothing new so far
// does not tell how far it is, so it is ended.
func (r *run) settle() {
	r.t.Helper()
	r.drainAll()
	for i, s := range r.streams.open {
		for _, id := range s.ids() {
			if s.watches[id].behind {
				r.watchCancel(watchCancel{i, id})
			}
		}
	}
}

// drain waits until all servers have sent all events of a stream, and compares.
func (r *run) drain(s *stream) {
	r.t.Helper()
	for _, w := range s.watches {
		r.drainWatch(s, w)
	}
}

func (r *run) drainWatch(s *stream, w *openWatch) {
	r.t.Helper()
	for i, rec := range s.records {
		if err := rec.expect(w.ID, w.Events, w.Compacted); err != nil {
			r.fatalf("%s: watch %d from revision %d: %v", r.targets[i].name, w.ID, w.Start, err)
		}
	}
	if n := len(w.Events); n > 0 && w.Events[n-1].Kv.ModRevision >= w.openedAt {
		w.behind = false
	}
	r.events += len(w.Events)
	w.Events = nil
}

// restart kills the servers: what they acknowledged must be there again, and
// the hash over all of it the same.
func (r *run) restart() {
	r.t.Helper()
	r.drainAll()
	r.compare(&pb.HashKVRequest{})
	for _, s := range r.streams.open {
		r.closeStream(s)
	}
	for _, tg := range r.targets {
		tg.restart()
	}
	r.store.Restart()
	r.openStreams()
	r.compare(&pb.HashKVRequest{})
}
