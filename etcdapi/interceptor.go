// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"keelson.io/keelson/etcdapi/codec"
)

// gate is what every request passes before its method: it counts the client's
// version, refuses what needs a leader when there is none, what a learner does not
// serve, and callers who may not call the method at all.
type gate struct {
	*core
	unary, stream versionCounter
	learner       *atomic.Bool // whether this member has no vote

	mu       sync.Mutex
	leaderly map[*leaderStream]struct{} // streams that end when there is no leader
}

func newGate(c *core, learner *atomic.Bool) *gate {
	return &gate{
		core:     c,
		learner:  learner,
		unary:    versionCounter{vec: c.metrics.ClientRequests, kind: "unary"},
		stream:   versionCounter{vec: c.metrics.ClientRequests, kind: "stream"},
		leaderly: make(map[*leaderStream]struct{}),
	}
}

// interceptUnary is a grpc.UnaryServerInterceptor.
func (g *gate) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := g.metrics.rpc.method(info.FullMethod)
	method.started.Inc()
	method.received.Inc()
	start := g.opts.Clock.Now()
	resp, err := g.serveUnary(ctx, req, info, handler)
	took := g.since(start)
	if err == nil {
		method.sent.Inc()
	}
	method.finish(took, err)
	if took > g.opts.WarningUnaryRequestDuration {
		g.requestStats(ctx, info.FullMethod, took, req, resp)
	}
	return resp, err
}

func (g *gate) serveUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.learner.Load() && !servedByLearner(req) {
		return nil, rpctypes.ErrGRPCNotSupportedForLearner
	}
	if _, err := g.admit(ctx, &g.unary); err != nil {
		return nil, err
	}
	if err := g.permit(ctx, info.FullMethod, req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// interceptStream is a grpc.StreamServerInterceptor.
func (g *gate) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	method := g.metrics.rpc.method(info.FullMethod)
	method.started.Inc()
	start := g.opts.Clock.Now()
	if info.FullMethod == healthpb.Health_Watch_FullMethodName {
		// grpc's own health service does not know when the server stops.
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(g.stop, cancel)()
		stream = &contextStream{ServerStream: stream, ctx: ctx}
	}
	var err error
	if g.learner.Load() && info.FullMethod != pb.Maintenance_Snapshot_FullMethodName {
		err = rpctypes.ErrGRPCNotSupportedForLearner
	} else {
		err = g.serveStream(srv, &countedStream{ServerStream: stream, metrics: method}, info, handler)
	}
	method.finish(g.since(start), err)
	return err
}

// serveStream serves a stream. One that needs a leader ends with ErrGRPCNoLeader
// when there is none for long.
func (g *gate) serveStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	needsLeader, err := g.admit(stream.Context(), &g.stream)
	if err != nil {
		return err
	}
	if err := g.permit(stream.Context(), info.FullMethod, nil); err != nil {
		return err
	}
	if !needsLeader {
		return handler(srv, stream)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	ls := &leaderStream{contextStream{ServerStream: stream, ctx: ctx}, cancel}
	g.mu.Lock()
	g.leaderly[ls] = struct{}{}
	g.mu.Unlock()
	err = handler(srv, ls)
	g.mu.Lock()
	delete(g.leaderly, ls)
	g.mu.Unlock()
	if errors.Is(context.Cause(ctx), rpctypes.ErrGRPCNoLeader) {
		return rpctypes.ErrGRPCNoLeader
	}
	return err
}

// contextStream is a stream with a context of its own.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *contextStream) Context() context.Context { return s.ctx }

// leaderStream is a stream that ends when there is no leader.
type leaderStream struct {
	contextStream
	cancel context.CancelCauseFunc
}

// admit looks at the request's metadata.
func (g *gate) admit(ctx context.Context, counted *versionCounter) (needsLeader bool, err error) {
	version := "unknown"
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		version = v[0]
	}
	if !utf8.ValidString(version) {
		return false, rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	counted.inc(version)
	wants := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	if len(wants) == 0 || wants[0] != rpctypes.MetadataHasLeader {
		return false, nil
	}
	if g.log.Leader() == 0 {
		return true, rpctypes.ErrGRPCNoLeader
	}
	return true, nil
}

// leaderlessTicks is how many election timeouts in a row there may be no leader
// before streams that need one are ended: to open them again costs more than to
// wait for an election.
const leaderlessTicks = 3

// watchLeader ends leaderly streams when there is no leader, until the server
// stops.
func (g *gate) watchLeader() {
	ticker := g.opts.Clock.NewTicker(g.opts.ElectionTimeout)
	defer ticker.Stop()
	for without := 0; ; {
		select {
		case <-g.stop.Done():
			return
		case <-ticker.Chan():
		}
		if g.log.Leader() != 0 {
			without = 0
			continue
		}
		if without++; without < leaderlessTicks {
			continue
		}
		g.mu.Lock()
		for s := range g.leaderly {
			s.cancel(rpctypes.ErrGRPCNoLeader)
		}
		g.mu.Unlock()
	}
}

// servedByLearner tells the requests that need neither vote nor quorum.
func servedByLearner(req any) bool {
	switch r := req.(type) {
	case *pb.StatusRequest:
		return true
	case *codec.Range:
		return r.Msg.Serializable
	}
	return false
}

// versionCounter counts requests by the version that clients say they have.
// What a client says is not to be trusted to be one of a few, so only the first
// maxClientVersions get a counter of their own.
type versionCounter struct {
	vec  *prometheus.CounterVec
	kind string

	mu       sync.RWMutex
	counters map[string]prometheus.Counter
}

const (
	maxClientVersions = 64
	otherVersions     = "other"
)

func (v *versionCounter) inc(version string) {
	v.mu.RLock()
	c := v.counters[version]
	v.mu.RUnlock()
	if c == nil {
		c = v.add(version)
	}
	c.Inc()
}

func (v *versionCounter) add(version string) prometheus.Counter {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.counters[version]; c != nil {
		return c
	}
	if len(v.counters) >= maxClientVersions {
		return v.vec.WithLabelValues(v.kind, otherVersions)
	}
	if v.counters == nil {
		v.counters = make(map[string]prometheus.Counter)
	}
	c := v.vec.WithLabelValues(v.kind, version)
	v.counters[version] = c
	return c
}
