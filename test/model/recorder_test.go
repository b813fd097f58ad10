// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// recorder is one watch stream to one server and what came over it.
type recorder struct {
	tg      *target
	stream  pb.Watch_WatchClient
	cancel  context.CancelFunc
	control chan *pb.WatchResponse // created and cancelled
	changed chan struct{}          // something was recorded

	mu       sync.Mutex
	watches  map[int64]*received
	progress []int64 // revisions of progress of the whole stream
	broken   error   // the first thing that no server may do
}

// received is what one watch was told since the last comparison.
type received struct {
	events    []*mvccpb.Event
	marks     []mark
	compacted int64 // revision that it was cancelled with
	lastRev   int64 // of the last event, ever
}

// mark is a progress notification: the first count events are all of those up
// to the revision.
type mark struct {
	rev   int64
	count int
}

func (tg *target) record() *recorder {
	tg.t.Helper()
	ctx, cancel := context.WithCancel(tg.t.Context())
	stream, err := tg.watch.Watch(ctx)
	if err != nil {
		tg.t.Fatalf("%s: open a watch stream: %v", tg.name, err)
	}
	r := &recorder{
		tg: tg, stream: stream, cancel: cancel,
		control: make(chan *pb.WatchResponse, 64),
		changed: make(chan struct{}, 1),
		watches: map[int64]*received{},
	}
	go r.receive()
	return r
}

func (r *recorder) receive() {
	for {
		resp, err := r.stream.Recv()
		if err != nil {
			r.fail(fmt.Errorf("receive: %w", err))
			return
		}
		if err := r.take(resp); err != nil {
			r.fail(fmt.Errorf("%w: %s", err, describe(resp)))
		}
		r.signal()
	}
}

func (r *recorder) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	if r.broken == nil {
		r.broken = err
	}
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) take(resp *pb.WatchResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watches[resp.WatchId]
	switch {
	case resp.Created:
		if !resp.Canceled {
			r.watches[resp.WatchId] = &received{}
		}
		r.control <- resp
	case resp.Canceled && resp.CompactRevision == 0:
		delete(r.watches, resp.WatchId)
		r.control <- resp
	case resp.WatchId == -1:
		return r.takeProgress(resp)
	case w == nil:
		return fmt.Errorf("a response to a watch that is not open")
	case resp.Canceled:
		if len(resp.Events) > 0 || resp.CancelReason != "" {
			return fmt.Errorf("a cancellation by compaction says more than the revision")
		}
		w.compacted = resp.CompactRevision
	case w.compacted != 0:
		return fmt.Errorf("a response to a watch that was cancelled")
	case len(resp.Events) == 0:
		w.marks = append(w.marks, mark{resp.Header.GetRevision(), len(w.events)})
	default:
		return w.takeEvents(resp)
	}
	return nil
}

func (r *recorder) takeProgress(resp *pb.WatchResponse) error {
	if len(resp.Events) > 0 {
		return fmt.Errorf("events for no watch")
	}
	rev := resp.Header.GetRevision()
	r.progress = append(r.progress, rev)
	for _, w := range r.watches {
		w.marks = append(w.marks, mark{rev, len(w.events)})
	}
	return nil
}

// takeEvents checks what holds for every response: revisions rise from one to
// the next, so none is split, and the header is not behind.
func (w *received) takeEvents(resp *pb.WatchResponse) error {
	if first := resp.Events[0].Kv.ModRevision; first <= w.lastRev {
		return fmt.Errorf("revision %d comes after revision %d was complete", first, w.lastRev)
	}
	w.lastRev = resp.Events[len(resp.Events)-1].Kv.ModRevision
	if resp.Header.GetRevision() < w.lastRev {
		return fmt.Errorf("the header is behind the events")
	}
	w.events = append(w.events, resp.Events...)
	return nil
}

// call sends a request and waits for the response that it must have.
func (r *recorder) call(req *pb.WatchRequest) answer {
	if err := r.stream.Send(req); err != nil {
		return answer{err: err}
	}
	timeout := time.NewTimer(askWithin)
	defer timeout.Stop()
	for {
		select {
		case resp := <-r.control:
			if err := r.tg.stripHeader(resp.Header); err != nil {
				return answer{err: err}
			}
			return answer{msg: resp}
		case <-timeout.C:
			return answer{err: fmt.Errorf("no response within %v", askWithin)}
		case <-r.changed:
			if err := r.err(); err != nil {
				return answer{err: err}
			}
		}
	}
}

func (r *recorder) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken
}

// until waits until done says so; it holds the recorder's lock for it.
func (r *recorder) until(done func() bool) error {
	timeout := time.NewTimer(askWithin)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		err, ok := r.broken, done()
		r.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-r.changed:
		case <-timeout.C:
			return fmt.Errorf("nothing more within %v", askWithin)
		}
	}
}

// expect waits for the events of a watch and compares them.
func (r *recorder) expect(id int64, want []*mvccpb.Event, compacted int64) error {
	var w *received
	err := r.until(func() bool {
		w = r.watches[id]
		return w != nil && len(w.events) >= len(want) && w.compacted == compacted
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if w == nil {
		return fmt.Errorf("the server has no watch %d: %w", id, err)
	}
	for i := range min(len(w.events), len(want)) {
		if !proto.Equal(w.events[i], want[i]) {
			return fmt.Errorf("event %d of %d is\n  %s\nthe model has\n  %s", i, len(want), describe(w.events[i]), describe(want[i]))
		}
	}
	if err != nil || len(w.events) != len(want) || w.compacted != compacted {
		return fmt.Errorf("%d events and cancelled at %d, the model has %d and %d, the last one %v: %w",
			len(w.events), w.compacted, len(want), compacted, lastOf(want), err)
	}
	for _, m := range w.marks {
		due := 0
		for _, e := range want {
			if e.Kv.ModRevision <= m.rev {
				due++
			}
		}
		if due != m.count {
			return fmt.Errorf("progress at revision %d came after %d events, %d are due", m.rev, m.count, due)
		}
	}
	w.events, w.marks = nil, nil
	return nil
}

func lastOf(events []*mvccpb.Event) string {
	if len(events) == 0 {
		return "-"
	}
	return describe(events[len(events)-1])
}

// askProgress asks for progress until the server tells it, and returns the
// revision. A server does not answer while one of the watches is behind.
func (r *recorder) askProgress() (int64, error) {
	r.mu.Lock()
	r.progress = nil
	r.mu.Unlock()
	deadline := time.Now().Add(askWithin)
	for time.Now().Before(deadline) {
		req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		if err := r.stream.Send(req); err != nil {
			return 0, err
		}
		again := time.NewTimer(20 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case <-r.changed:
			case <-again.C:
				waiting = false
			}
			r.mu.Lock()
			err, revs := r.broken, r.progress
			r.mu.Unlock()
			if err != nil || len(revs) > 0 {
				return append(revs, 0)[0], err
			}
		}
	}
	return 0, fmt.Errorf("no progress within %v", askWithin)
}
