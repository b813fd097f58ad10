// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"sync"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"keelson.io/keelson/etcdapi/codec"
)

// gate is what every request passes before its method: it counts the client's
// version, refuses what needs a leader when there is none, and what a learner
// does not serve.
type gate struct {
	*core
	unary, stream versionCounter

	mu       sync.Mutex
	leaderly map[*leaderStream]struct{} // streams that end when there is no leader
}

func newGate(c *core) *gate {
	return &gate{
		core:     c,
		unary:    versionCounter{vec: c.metrics.ClientRequests, kind: "unary"},
		stream:   versionCounter{vec: c.metrics.ClientRequests, kind: "stream"},
		leaderly: make(map[*leaderStream]struct{}),
	}
}

// interceptUnary is a grpc.UnaryServerInterceptor.
func (g *gate) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.log.Status().Learner && !servedByLearner(req) {
		return nil, rpctypes.ErrGRPCNotSupportedForLearner
	}
	if _, err := g.admit(ctx, &g.unary); err != nil {
		return nil, err
	}
	start := g.opts.Clock.Now()
	resp, err := handler(ctx, req)
	if took := g.since(start); took > g.opts.WarningUnaryRequestDuration {
		g.requestStats(ctx, info.FullMethod, took, req, resp)
	}
	return resp, err
}

// interceptStream is a grpc.StreamServerInterceptor. A stream that needs a
// leader ends with ErrGRPCNoLeader when there is none for long.
func (g *gate) interceptStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if g.log.Status().Learner {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	needsLeader, err := g.admit(stream.Context(), &g.stream)
	if err != nil || !needsLeader {
		if err == nil {
			err = handler(srv, stream)
		}
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	ls := &leaderStream{ServerStream: stream, ctx: ctx, cancel: cancel}
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

// leaderStream is a stream whose context can be ended from outside.
type leaderStream struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Context implements grpc.ServerStream.
func (s *leaderStream) Context() context.Context { return s.ctx }

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
