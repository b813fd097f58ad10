// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// invalidWatchID is the id in answers that are about no watch in particular.
const invalidWatchID int64 = -1

// watchService is etcd's Watch service. A stream has two goroutines: the
// handler's own takes batches from the store and sends them, the other one
// receives requests. Answers to requests stand in the same queue as events, so
// that the client sees them in the store's order. When the client does not read,
// the sender blocks on it, then the store's bounded queue fills, then requests
// are not received any more: nothing here grows.
type watchService struct {
	*core
	pb.UnimplementedWatchServer
}

// watchSession is one Watch stream.
type watchSession struct {
	*core
	stream  grpc.ServerStream
	watches *sqlstore.WatchStream

	// sending is held while a response is sent: refusals come from the receiver,
	// everything else from the sender.
	sending sync.Mutex
	// answered holds a token when the sender has sent all creations.
	answered chan struct{}

	mu sync.Mutex
	// creating are the watches whose creation is not sent yet, in order.
	creating []*watchTraits
	traits   map[int64]*watchTraits
	progress clockwork.Timer
	ended    bool
}

// watchTraits are the wishes of one watch that the store does not know about.
type watchTraits struct {
	fragment bool
	notify   bool
	// active says that events were sent since the last tick, so that no progress
	// notification is due.
	active bool
}

// Watch serves one stream until its context ends or the server stops.
func (s *watchService) Watch(stream pb.Watch_WatchServer) error {
	session := &watchSession{
		core:     s.core,
		stream:   stream,
		watches:  s.store.NewWatchStream(),
		answered: make(chan struct{}, 1),
		traits:   make(map[int64]*watchTraits),
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	detach := context.AfterFunc(s.stop, func() { cancel(rpctypes.ErrGRPCStopped) })
	defer detach()
	session.startProgress()
	defer session.end()
	// The receiver may sit in RecvMsg until this handler has returned, so it is
	// not waited for; end makes its calls to the store fail.
	go func() { cancel(session.receive(ctx)) }()

	cancel(session.send(ctx))
	return watchStreamError(stream.Context(), context.Cause(ctx))
}

func (w *watchSession) end() {
	w.watches.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.progress.Stop()
}

// watchStreamError is the stream's status.
func watchStreamError(stream context.Context, cause error) error {
	if stream.Err() == nil {
		return grpcError(cause)
	}
	// A stream context may carry a reason of its own, such as a lost leader.
	if errors.Is(stream.Err(), context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return stream.Err()
}

// receive handles requests until the stream ends.
func (w *watchSession) receive(ctx context.Context) error {
	for {
		request := new(pb.WatchRequest)
		if err := w.stream.RecvMsg(request); err != nil {
			if errors.Is(err, io.EOF) {
				// Who asks for nothing more is still told of events, as by etcd.
				<-ctx.Done()
				return ctx.Err()
			}
			w.failure("receive", err)
			return err
		}
		if err := w.handle(ctx, request); err != nil {
			return err
		}
	}
}

func (w *watchSession) handle(ctx context.Context, request *pb.WatchRequest) error {
	switch r := request.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if r.CreateRequest != nil {
			return w.create(ctx, r.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		if r.CancelRequest != nil {
			return w.cancel(ctx, r.CancelRequest.WatchId)
		}
	case *pb.WatchRequest_ProgressRequest:
		w.watches.ProgressAll()
	}
	return nil // a request that says nothing is passed over
}

// create starts a watch. A refusal is an answer, not an error of the stream.
func (w *watchSession) create(ctx context.Context, r *pb.WatchCreateRequest) error {
	request, err := watchRequest(r)
	if err != nil {
		return w.refuse(ctx, watchCancelReason(err))
	}
	if err := w.auth.RequireRange(w.stream.Context(), request.Key, request.End); err != nil {
		return w.refuse(ctx, watchCancelReason(err))
	}
	w.mu.Lock()
	w.creating = append(w.creating, &watchTraits{fragment: r.Fragment, notify: r.ProgressNotify})
	w.mu.Unlock()
	watchCtx, end := w.span(ctx, "watch", func() []attribute.KeyValue { return watchAttributes(r) })
	_, err = w.watches.Watch(watchCtx, request)
	end()
	if err == nil {
		return nil
	}
	w.mu.Lock()
	w.creating = w.creating[:len(w.creating)-1]
	w.mu.Unlock()
	if endsWatchStream(err) {
		return err
	}
	return w.refuse(ctx, watchCancelReason(err))
}

// watchRequest is a creation in the store's terms.
func watchRequest(r *pb.WatchCreateRequest) (sqlstore.WatchRequest, error) {
	if r.StartRevision < 0 {
		return sqlstore.WatchRequest{}, sqlstore.ErrCompacted
	}
	request := sqlstore.WatchRequest{
		ID: r.WatchId, Key: r.Key, End: r.RangeEnd, StartRevision: r.StartRevision, PrevKV: r.PrevKv,
	}
	if len(request.Key) == 0 {
		request.Key = []byte{0} // the smallest key there is
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			request.Filter.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			request.Filter.NoDelete = true
		}
	}
	return request, nil
}

// endsWatchStream tells the errors after which a stream can't go on.
func endsWatchStream(err error) bool {
	return errors.Is(err, sqlstore.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (w *watchSession) cancel(ctx context.Context, id int64) error {
	err := w.watches.Cancel(ctx, id)
	if err != nil && endsWatchStream(err) {
		return err
	}
	return nil // cancelling what is not there has no answer, as in etcd
}

// refuse answers a create that no watch came of. Clients tell creations apart by
// their order, so it waits until all earlier ones are sent.
func (w *watchSession) refuse(ctx context.Context, reason string) error {
	for w.unanswered() {
		select {
		case <-w.answered:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return w.sendMessage(&wire.WatchResponse{
		Header: w.header(w.store.Revision()), WatchID: invalidWatchID,
		Created: true, Canceled: true, CancelReason: reason,
	})
}

func (w *watchSession) unanswered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.creating) > 0
}

// send passes on what the store hands out.
func (w *watchSession) send(ctx context.Context) error {
	for {
		batch, err := w.watches.Next(ctx)
		if err != nil {
			return err
		}
		if err := w.sendBatch(batch); err != nil {
			return err
		}
	}
}

func (w *watchSession) sendBatch(batch sqlstore.WatchBatch) error {
	response := &wire.WatchResponse{
		Header: w.header(batch.Revision), WatchID: batch.WatchID, Events: batch.Events,
	}
	switch batch.Kind {
	case sqlstore.BatchCreated:
		response.Created = true
		err := w.sendMessage(response)
		w.created(batch.WatchID)
		return err
	case sqlstore.BatchCanceled, sqlstore.BatchCompacted:
		response.Canceled = true
		if response.CompactRevision = batch.CompactRevision; response.CompactRevision != 0 {
			response.Header.Revision = 0 // as in etcd
		}
		w.mu.Lock()
		delete(w.traits, batch.WatchID)
		w.mu.Unlock()
	case sqlstore.BatchEvents:
		if w.noteEvents(batch.WatchID) {
			return sendFragments(response, w.opts.maxMessageBytes(), w.sendMessage)
		}
	}
	return w.sendMessage(response)
}

// created gives the oldest creation that was not sent its id.
func (w *watchSession) created(id int64) {
	w.mu.Lock()
	w.traits[id] = w.creating[0]
	w.creating = w.creating[1:]
	done := len(w.creating) == 0
	w.mu.Unlock()
	if done {
		select {
		case w.answered <- struct{}{}:
		default:
		}
	}
}

// noteEvents notes that a watch has something to say and says whether it may be
// said in fragments.
func (w *watchSession) noteEvents(id int64) (fragment bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.traits[id]; t != nil {
		t.active = true
		return t.fragment
	}
	return false
}

func (w *watchSession) sendMessage(r *wire.WatchResponse) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	err := w.stream.SendMsg(r)
	if err != nil {
		w.failure("send", err)
	}
	return err
}

// startProgress tells watches that asked for it, and that had nothing to say
// since the last time, how far they are. A little chance in the interval keeps
// streams that were opened together from answering together.
func (w *watchSession) startProgress() {
	interval := w.opts.WatchProgressInterval
	interval += time.Duration(rand.Int64N(int64(interval)/10 + 1))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress = w.opts.Clock.AfterFunc(interval, func() {
		for _, id := range w.quietWatches() {
			w.watches.Progress(id)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ended {
			w.progress.Reset(interval)
		}
	})
}

// quietWatches returns the watches that are due for a notification and begins
// the next interval.
func (w *watchSession) quietWatches() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var quiet []int64
	for id, t := range w.traits {
		if t.notify && !t.active {
			quiet = append(quiet, id)
		}
		t.active = false
	}
	return quiet
}

// failure counts and logs a broken stream, unless the client broke it.
func (w *watchSession) failure(direction string, err error) {
	if w.stream.Context().Err() != nil || clientLeft(err) {
		return
	}
	w.metrics.StreamFailures.WithLabelValues(direction, "watch").Inc()
	w.opts.Logger.Warn("watch stream failed", zap.String("direction", direction), zap.Error(err))
}

// clientLeft tells errors of a stream that mean that the client ended it.
func clientLeft(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return true
	}
	return false
}
