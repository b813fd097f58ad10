// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// follower watches all keys, over all restarts of the server. As every revision changes some key, it must see each revision,
// in order, whole and once; it goes on from the revision after its last one when its stream breaks.
type follower struct {
	name   string
	conn   *grpc.ClientConn
	prevKV bool
	stop   func() // may be called again

	mu       sync.Mutex
	log      []revisionEvents // since the last call of take
	last     int64            // revision of the newest event, or of the start
	previous state            // what prev_kv must show, where it is asked for
	faults   []error
	advanced chan struct{} // closed and replaced at each progress
}

// newFollower starts a watch after a revision. It ends with the test, if it is not stopped before.
func newFollower(t *testing.T, name string, conn *grpc.ClientConn, after int64) *follower {
	t.Helper()
	f := &follower{name: name, conn: conn, last: after}
	f.start(t)
	return f
}

// newFollowerWithPrevious also asks for previous values, and checks them. The store must be empty.
func newFollowerWithPrevious(t *testing.T, name string, conn *grpc.ClientConn, after int64) *follower {
	t.Helper()
	f := &follower{name: name, conn: conn, last: after, prevKV: true, previous: state{}}
	f.start(t)
	return f
}

func (f *follower) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	f.advanced = make(chan struct{})
	f.stop = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			// A broken stream is what a killed server leaves; only what a stream says can be wrong.
			if err := f.stream(ctx); err != nil {
				f.fault(err)
				return
			}
		}
	}()
	t.Cleanup(f.stop)
}

// stream follows one stream until it breaks. An error is a promise that the server broke.
func (f *follower) stream(ctx context.Context) error {
	stream, err := pb.NewWatchClient(f.conn).Watch(ctx, grpc.WaitForReady(true))
	if err != nil {
		return nil
	}
	f.mu.Lock()
	start := f.last + 1
	f.mu.Unlock()
	request := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: start, PrevKv: f.prevKV}
	if stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}}) != nil {
		return nil
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return nil
		}
		if resp.Canceled {
			return fmt.Errorf("the watch from revision %d was cancelled, compacted at %d: %s", start, resp.CompactRevision, resp.CancelReason)
		}
		if err := f.take(resp); err != nil {
			return err
		}
	}
}

// take appends a response's events to the log, after it has checked that they go on where the log ends.
func (f *follower) take(resp *pb.WatchResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	whole := f.last
	for _, event := range resp.Events {
		revision := event.Kv.ModRevision
		switch {
		case revision == f.last+1:
			f.log = append(f.log, revisionEvents{revision: revision})
			f.last = revision
		case revision != f.last || revision == whole:
			return fmt.Errorf("an event of revision %d came after revision %d; the response began after %d", revision, f.last, whole)
		}
		current := &f.log[len(f.log)-1]
		current.changes = append(current.changes, changeOf(event))
		if err := f.checkPrevious(event); err != nil {
			return err
		}
	}
	if len(resp.Events) > 0 && resp.Header.Revision < f.last {
		return fmt.Errorf("a response with events up to revision %d has revision %d", f.last, resp.Header.Revision)
	}
	close(f.advanced)
	f.advanced = make(chan struct{})
	return nil
}

// checkPrevious compares prev_kv with what the events before have left.
func (f *follower) checkPrevious(event *mvccpb.Event) error {
	if !f.prevKV {
		return nil
	}
	want, got := f.previous[string(event.Kv.Key)], event.PrevKv
	if (want == nil) != (got == nil) || want != nil && !sameKeyValue(want, got) {
		return fmt.Errorf("revision %d: the previous value of %s is %v, want %v", event.Kv.ModRevision, event.Kv.Key, got, want)
	}
	f.previous.apply(event.Kv.ModRevision, []change{changeOf(event)})
	return nil
}

func changeOf(event *mvccpb.Event) change {
	if event.Type == mvccpb.Event_DELETE {
		return change{key: string(event.Kv.Key), delete: true}
	}
	return change{key: string(event.Kv.Key), value: string(event.Kv.Value), lease: event.Kv.Lease}
}

func (f *follower) fault(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fmt.Errorf("%s: %w", f.name, err))
	close(f.advanced)
	f.advanced = make(chan struct{})
}

// until waits for a revision and returns, and forgets, all that was seen up to it.
func (f *follower) until(ctx context.Context, revision int64) ([]revisionEvents, error) {
	for {
		f.mu.Lock()
		last, advanced, err := f.last, f.advanced, errors.Join(f.faults...)
		if err == nil && last >= revision {
			log := f.log
			f.log = nil
			f.mu.Unlock()
			for i := range log {
				slices.SortFunc(log[i].changes, func(a, b change) int { return cmp.Compare(a.key, b.key) })
			}
			return log, nil
		}
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: saw revision %d, and waits in vain for %d: %w", f.name, last, revision, ctx.Err())
		}
	}
}

// sameKeyValue compares two versions of a key in all fields.
func sameKeyValue(a, b *mvccpb.KeyValue) bool {
	return string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value) && a.Lease == b.Lease &&
		a.CreateRevision == b.CreateRevision && a.ModRevision == b.ModRevision && a.Version == b.Version
}
