// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchLoad puts at a steady rate and has watchers see each put. The latency is from just before the
// put is sent until the event is received; an operation is an event received.
type watchLoad struct {
	watchers, putsPerSecond int
	duration                time.Duration
}

const (
	watchedStart = "/registry/events/"
	watchedEnd   = "/registry/events0"
	watchedBytes = 512
	// putters bounds the puts in flight. A server that cannot keep up is put to less often.
	putters = 32
)

func (l watchLoad) run(ctx context.Context, s *server) (measurement, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := dial(s.addresses, 10)
	if err != nil {
		return measurement{}, err
	}
	defer c.close()
	puts := int(float64(l.putsPerSecond) * l.duration.Seconds())
	watchers := make([]*watcher, l.watchers)
	for i := range watchers {
		if watchers[i], err = startWatcher(ctx, c, i); err != nil {
			return measurement{}, err
		}
	}
	before, err := s.usage()
	if err != nil {
		return measurement{}, err
	}
	received := make(chan error, l.watchers)
	began := time.Now()
	for _, w := range watchers {
		go func() { received <- w.receive(puts, began) }()
	}
	err = l.puts(ctx, c, puts, began)
	for range watchers {
		if err != nil {
			cancel()
		}
		err = errors.Join(err, <-received)
	}
	if err != nil {
		return measurement{}, err
	}
	after, err := s.rest(ctx)
	var all latencies
	for _, w := range watchers {
		all = append(all, w.latencies...)
	}
	m := measurement{value: float64(all.percentile(.5)) / float64(time.Millisecond), residentBytes: after.residentBytes}
	m.latency(all)
	m.perOperation(before, after, len(all))
	return m, err
}

// puts puts n values that begin with the time since began at which they were sent.
func (l watchLoad) puts(ctx context.Context, c *client, n int, began time.Time) error {
	var (
		wg   sync.WaitGroup
		due  = make(chan int)
		errs = make([]error, putters)
	)
	ctx, cancel := context.WithTimeout(ctx, l.duration+operationTimeout)
	defer cancel()
	for p := range putters {
		wg.Go(func() {
			v := make([]byte, watchedBytes)
			for i := range due {
				binary.BigEndian.PutUint64(v, uint64(time.Since(began)))
				if err := c.put(ctx, i, fmt.Sprintf("%snamespace-%02d/event-%06d", watchedStart, i%50, i%10_000), v); err != nil {
					errs[p] = err
					cancel()
					return
				}
			}
		})
	}
	interval := time.Second / time.Duration(l.putsPerSecond)
pace:
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * interval)))
		select {
		case due <- i:
		case <-ctx.Done():
			break pace
		}
	}
	close(due)
	wg.Wait()
	return firstCause(append(errs, ctx.Err()))
}

// watcher is a watch on everything that is put.
type watcher struct {
	stream    pb.Watch_WatchClient
	latencies latencies
}

// startWatcher returns when the server has made the watch.
func startWatcher(ctx context.Context, c *client, i int) (*watcher, error) {
	stream, err := pb.NewWatchClient(c.conn(i)).Watch(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(watchedStart), RangeEnd: []byte(watchedEnd), PrevKv: true, ProgressNotify: true,
	}}})
	if err != nil {
		return nil, err
	}
	resp, err := stream.Recv()
	if err == nil && (!resp.Created || resp.Canceled) {
		err = fmt.Errorf("the watch was not made: %q", resp.CancelReason)
	}
	return &watcher{stream: stream}, err
}

// receive receives n events.
func (w *watcher) receive(n int, began time.Time) error {
	for len(w.latencies) < n {
		resp, err := w.stream.Recv()
		if err != nil {
			return fmt.Errorf("after %d of %d events: %w", len(w.latencies), n, err)
		}
		now := time.Since(began)
		for _, event := range resp.Events {
			sent := time.Duration(binary.BigEndian.Uint64(event.Kv.Value))
			w.latencies = append(w.latencies, now-sent)
		}
		if resp.Canceled {
			return fmt.Errorf("the watch was cancelled after %d of %d events: %q", len(w.latencies), n, resp.CancelReason)
		}
	}
	return nil
}

// isCanceled reports whether err is gRPC's word for a context that was cancelled.
func isCanceled(err error) bool { return status.Code(err) == codes.Canceled }
