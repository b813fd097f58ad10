// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	grpcprometheus "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore/wire"
)

// stubLog is a log with whatever status a test wants.
type stubLog struct {
	Log
	mu     sync.Mutex
	status raftlog.Status
}

func (l *stubLog) set(s raftlog.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = s
}

func (l *stubLog) Status() raftlog.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *stubLog) Leader() uint64 { return l.Status().Leader }
func (l *stubLog) Term() uint64   { return l.Status().Term }

func testGate(t *testing.T, log Log, clock clockwork.Clock) (*gate, *observer.ObservedLogs) {
	t.Helper()
	logs, seen := observer.New(zapcore.WarnLevel)
	opts := &Options{Registerer: prometheus.NewRegistry(), Clock: clock, Logger: zap.New(logs)}
	opts.SetDefaults()
	stop, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return newGate(&core{opts: opts, log: log, metrics: newServerMetrics(opts, 1), stop: stop, auth: new(authority.Authority)}, new(atomic.Bool)), seen
}

func incoming(pairs ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(pairs...))
}

func pass(context.Context, any) (any, error) { return "passed", nil }

func TestGateUnary(t *testing.T) {
	log := &stubLog{}
	g, _ := testGate(t, log, clockwork.NewFakeClock())
	info := &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Range"}
	needsLeader := incoming(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	for name, tc := range map[string]struct {
		ctx    context.Context
		req    any
		status raftlog.Status
		want   error
	}{
		"no leader needed":        {ctx: incoming(), req: &codec.Range{}},
		"no leader":               {ctx: needsLeader, req: &codec.Range{}, want: rpctypes.ErrGRPCNoLeader},
		"a leader":                {ctx: needsLeader, req: &codec.Range{}, status: raftlog.Status{Leader: 1}},
		"garbled version":         {ctx: incoming(rpctypes.MetadataClientAPIVersionKey, "\xff"), req: &codec.Range{}, want: rpctypes.ErrGRPCInvalidClientAPIVersion},
		"learner":                 {ctx: incoming(), req: &codec.Put{}, status: raftlog.Status{Learner: true}, want: rpctypes.ErrGRPCNotSupportedForLearner},
		"linearizable on learner": {ctx: incoming(), req: &codec.Range{}, status: raftlog.Status{Learner: true}, want: rpctypes.ErrGRPCNotSupportedForLearner},
		"serializable on learner": {ctx: incoming(), req: &codec.Range{Msg: pb.RangeRequest{Serializable: true}}, status: raftlog.Status{Learner: true}},
		"status of learner":       {ctx: incoming(), req: &pb.StatusRequest{}, status: raftlog.Status{Learner: true}},
	} {
		log.set(tc.status)
		g.learner.Store(tc.status.Learner)
		resp, err := g.interceptUnary(tc.ctx, tc.req, info, pass)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if tc.want == nil && resp != "passed" {
			t.Errorf("%s: %v", name, resp)
		}
	}
}

func TestClientVersionsAreBounded(t *testing.T) {
	g, _ := testGate(t, &stubLog{}, clockwork.NewFakeClock())
	info := &grpc.UnaryServerInfo{}
	for i := range 10 * maxClientVersions {
		ctx := incoming(rpctypes.MetadataClientAPIVersionKey, fmt.Sprintf("3.%d", i))
		if _, err := g.interceptUnary(ctx, nil, info, pass); err != nil {
			t.Fatal(err)
		}
	}
	if got := testutil.CollectAndCount(g.metrics.ClientRequests); got != maxClientVersions+1 {
		t.Errorf("%d time series", got)
	}
	if got := testutil.ToFloat64(g.metrics.ClientRequests.WithLabelValues("unary", otherVersions)); got != 9*maxClientVersions {
		t.Errorf("%v requests of other versions", got)
	}
}

func TestSlowRequestsAreLogged(t *testing.T) {
	clock := clockwork.NewFakeClock()
	g, logs := testGate(t, &stubLog{}, clock)
	slow := func(context.Context, any) (any, error) {
		clock.Advance(time.Second)
		return &wire.RangeResponse{Count: 3}, nil
	}
	request := &codec.Put{Msg: pb.PutRequest{Key: []byte("k"), Value: []byte("secret")}}
	if _, err := g.interceptUnary(incoming(), request, &grpc.UnaryServerInfo{FullMethod: "/m"}, slow); err != nil {
		t.Fatal(err)
	}
	lines := logs.FilterMessage("request stats").All()
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	fields := lines[0].ContextMap()
	if fields["time spent"] != time.Second || fields["response type"] != "/m" || fields["response count"] != int64(3) {
		t.Errorf("fields %v", fields)
	}
	if content := fmt.Sprint(fields["request content"]); content == "" || strings.Contains(content, "secret") {
		t.Errorf("content %q", content)
	}
}

// stubStream is a stream with a context.
type stubStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stubStream) Context() context.Context { return s.ctx }

func TestStreamsEndWithoutLeader(t *testing.T) {
	clock := clockwork.NewFakeClock()
	log := &stubLog{status: raftlog.Status{Leader: 1}}
	g, _ := testGate(t, log, clock)
	stop, cancel := context.WithCancel(context.Background())
	g.core.stop = stop
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		g.watchLeader()
	}()
	started, ended := make(chan struct{}), make(chan error)
	ctx := incoming(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	go func() {
		ended <- g.interceptStream(nil, stubStream{ctx: ctx}, &grpc.StreamServerInfo{}, func(_ any, stream grpc.ServerStream) error {
			close(started)
			<-stream.Context().Done()
			return stream.Context().Err()
		})
	}()
	<-started
	log.set(raftlog.Status{})
	for range leaderlessTicks {
		if err := clock.BlockUntilContext(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(g.opts.ElectionTimeout)
	}
	eventually(t, "the stream ends", func() bool {
		select {
		case err := <-ended:
			if !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
				t.Errorf("the stream ended with %v", err)
			}
			return true
		default:
			clock.Advance(g.opts.ElectionTimeout)
			return false
		}
	})
	cancel()
	<-watching
}

// TestRPCMetricsAreThoseOfTheMiddleware compares with the library that etcd has
// its metrics from.
func TestRPCMetricsAreThoseOfTheMiddleware(t *testing.T) {
	ours, theirs := prometheus.NewRegistry(), prometheus.NewRegistry()
	mine := newRPCMetrics(ours, extensiveMetrics)
	library := grpcprometheus.NewServerMetrics(grpcprometheus.WithServerHandlingTimeHistogram())
	theirs.MustRegister(library)
	server := grpc.NewServer()
	defer server.Stop()
	pb.RegisterWatchServer(server, pb.UnimplementedWatchServer{})
	pb.RegisterLeaseServer(server, pb.UnimplementedLeaseServer{})
	mine.initialize(server.GetServiceInfo())
	library.InitializeMetrics(server)

	g, _ := testGate(t, &stubLog{}, clockwork.NewFakeClock())
	g.metrics.rpc = mine
	info := &grpc.UnaryServerInfo{FullMethod: pb.Lease_LeaseGrant_FullMethodName}
	streamInfo := &grpc.StreamServerInfo{FullMethod: pb.Watch_Watch_FullMethodName, IsClientStream: true, IsServerStream: true}
	stream := func(_ any, s grpc.ServerStream) error {
		for range 3 {
			if err := s.SendMsg(nil); err != nil {
				return err
			}
		}
		return s.RecvMsg(nil)
	}
	for _, err := range []error{nil, nil, rpctypes.ErrGRPCNoSpace, context.DeadlineExceeded, errors.New("x")} {
		handler := func(context.Context, any) (any, error) { return nil, err }
		_, got := g.interceptUnary(incoming(), nil, info, handler)
		_, want := library.UnaryServerInterceptor()(incoming(), nil, info, handler)
		if !errors.Is(got, err) || !errors.Is(want, err) {
			t.Fatalf("%v and %v", got, want)
		}
		s := messageStream{stubStream: stubStream{ctx: incoming()}, err: err}
		got = g.interceptStream(nil, s, streamInfo, stream)
		want = library.StreamServerInterceptor()(nil, s, streamInfo, stream)
		if !errors.Is(got, err) || !errors.Is(want, err) {
			t.Fatalf("%v and %v", got, want)
		}
	}
	for _, name := range []string{"started_total", "msg_received_total", "msg_sent_total", "handled_total"} {
		if got, want := samples(t, ours, "grpc_server_"+name), samples(t, theirs, "grpc_server_"+name); got != want {
			t.Errorf("%s\n%s\nwant\n%s", name, got, want)
		}
	}
	if got, want := testutil.CollectAndCount(mine.seconds), testutil.CollectAndCount(library, "grpc_server_handling_seconds"); got != want {
		t.Errorf("%d histograms, want %d", got, want)
	}
}

// messageStream fails its last RecvMsg.
type messageStream struct {
	stubStream
	err error
}

func (s messageStream) SendMsg(any) error { return nil }
func (s messageStream) RecvMsg(any) error { return s.err }

// samples are a metric's lines without help.
func samples(t *testing.T, g prometheus.Gatherer, name string) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			fmt.Fprintf(&b, "%v %v\n", m.Label, m.Counter.GetValue())
		}
	}
	return b.String()
}
