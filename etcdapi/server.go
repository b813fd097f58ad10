// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/pkg/v3/idutil"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/etcdapi/portmux"
	"keelson.io/keelson/sqlstore"
)

// Parts is what a Server serves. The caller opened them and closes log and store
// after Stop, in this order; the lessor is closed by Stop.
type Parts struct {
	Store        *sqlstore.Store
	Log          Log
	StateMachine *StateMachine
	Lessor       *lessor.Lessor
	// Authority is the one that the store was opened with; it is closed by Stop.
	Authority *authority.Authority
	// PeerTransport carries questions to other members. Default: http's own.
	PeerTransport http.RoundTripper
}

// Server is etcd's API over one store and log.
type Server struct {
	*core
	lessor     *lessor.Lessor
	machine    *StateMachine
	leases     *leaseService
	corruption *corruption
	gate       *gate
	cluster    *clusterService
	grpc       *grpc.Server
	health     *grpchealth.Server
	inner      *clientv3.Client // of elections and locks
	gateway    *gateway         // nil when it is disabled
	http       *http.Server
	onlyHTTP   *http.Server // for listeners that are not for gRPC
	observe    *http.Server // for listeners of metrics

	cancel     context.CancelFunc // of core.stop
	ready      chan struct{}
	promoted   chan struct{} // holds a token when the lessor became primary
	background sync.WaitGroup

	mu   sync.Mutex
	open []io.Closer // what is listened on
}

// maxSendBytes is the largest response, as much as gRPC can frame.
const maxSendBytes = 1<<31 - 1

// NewServer returns a server that has begun to take part in its cluster: it
// publishes its attributes and, when it leads, keeps leases. It serves nobody
// until Serve.
func NewServer(opts Options, parts Parts) (*Server, error) {
	opts.SetDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("etcdapi options: %w", err)
	}
	status := parts.Log.Status()
	stop, cancel := context.WithCancel(context.Background())
	s := &Server{
		core: &core{
			opts:      &opts,
			store:     parts.Store,
			log:       parts.Log,
			ids:       idutil.NewGenerator(uint16(status.MemberID), opts.Clock.Now()),
			metrics:   newServerMetrics(&opts, status.MemberID),
			clusterID: status.ClusterID,
			memberID:  status.MemberID,
			storage:   new(atomic.Pointer[semver.Version]),
			stop:      stop,
			peers:     newPeerClient(parts.PeerTransport),
			elections: &elections{members: parts.StateMachine.members},
			tracer:    newTracer(opts.TracerProvider),
			auth:      parts.Authority,
		},
		lessor:  parts.Lessor,
		machine: parts.StateMachine,
		cancel:  cancel,
		ready:   make(chan struct{}),

		promoted: make(chan struct{}, 1),
	}
	q := &quota{core: s.core}
	s.leases = &leaseService{core: s.core, quota: q, lessor: s.lessor, lead: &leadership{core: s.core}}
	s.corruption = &corruption{core: s.core, hashes: parts.Store}
	s.cluster = &clusterService{core: s.core, members: s.machine.members}
	s.machine.metrics.Store(s.metrics)
	s.gate = newGate(s.core, &s.machine.members.learner)
	s.grpc, s.health = s.newGRPC(q)
	if err := s.openGateway(); err != nil {
		return nil, err
	}
	handler := s.httpHandler()
	s.http, s.onlyHTTP = s.newHTTP(s.grpcOr(handler)), s.newHTTP(handler)
	s.observe = s.newHTTP(s.observingHandler())
	for _, job := range []func(){
		s.watchElections, s.publish, s.keepLeases, s.lead, s.watchDowngrade, s.autoCompact, s.gate.watchLeader, s.corruption.watchCompactions, s.corruption.watchEverything,
		q.heal,
	} {
		s.background.Go(job)
	}
	return s, nil
}

func (s *Server) newGRPC(q *quota) (*grpc.Server, *grpchealth.Server) {
	server := grpc.NewServer(append(s.opts.tracingOptions(),
		grpc.Creds(shaken{insecure.NewCredentials()}),
		grpc.ForceServerCodecV2(countingCodec{metrics: s.metrics}),
		grpc.UnaryInterceptor(s.gate.interceptUnary),
		grpc.StreamInterceptor(s.gate.interceptStream),
		grpc.MaxRecvMsgSize(s.opts.maxMessageBytes()),
		grpc.MaxSendMsgSize(maxSendBytes),
		grpc.MaxConcurrentStreams(s.opts.MaxConcurrentStreams),
		grpc.NumStreamWorkers(s.opts.StreamWorkers),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: s.opts.KeepAliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    s.opts.KeepAliveInterval,
			Timeout: s.opts.KeepAliveTimeout,
		}),
	)...)
	kv, watch := newKVService(s.core, q), &watchService{core: s.core}
	codec.RegisterKVServer(server, kv)
	pb.RegisterWatchServer(server, watch)
	pb.RegisterLeaseServer(server, s.leases)
	s.inner = registerCoordination(server, s.opts, coordination{kv: kv, lease: s.leases, watch: watch})
	pb.RegisterClusterServer(server, s.cluster)
	pb.RegisterMaintenanceServer(server, newMaintenance(s.core))
	pb.RegisterAuthServer(server, &authService{core: s.core})
	health := grpchealth.NewServer() // serving, for the whole server
	healthpb.RegisterHealthServer(server, health)
	s.metrics.rpc.initialize(server.GetServiceInfo())
	return server, health
}

func (s *Server) newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ConnContext:       withConn,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: int(min(s.opts.MaxConcurrentStreams, math.MaxInt32))},
		ErrorLog:          stdlog.New(io.Discard, "", 0), // faults of clients, which they are told
	}
}

// readHeaderTimeout is how long a client may take to send its request's header.
const readHeaderTimeout = 5 * time.Minute

// Ready returns a channel that is closed when the cluster knows this member and
// requests are served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Serve answers gRPC and HTTP clients on l, from when the server is ready until
// Stop, and then returns nil. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	return s.serve(portmux.New(s.ofClients(l), s.opts.Clock, s.opts.FirstBytesTimeout), servingPlain)
}

// ServeTLS is Serve for clients that begin with a handshake.
func (s *Server) ServeTLS(l net.Listener, handshake portmux.Handshake) error {
	return s.serve(portmux.NewSecure(s.ofClients(l), s.opts.Clock, s.opts.FirstBytesTimeout, handshake), servingSecure)
}

// ServeEither is Serve for clients of which some begin with a handshake.
func (s *Server) ServeEither(l net.Listener, handshake portmux.Handshake) error {
	return s.serve(portmux.NewEither(s.ofClients(l), s.opts.Clock, s.opts.FirstBytesTimeout, handshake), servingPlain, servingSecure)
}

// What the log says, in etcd's words.
const (
	servingPlain  = "serving client traffic insecurely; this is strongly discouraged!"
	servingSecure = "serving client traffic securely"
)

// ofClients is l with connections that are known to be clients'.
func (s *Server) ofClients(l net.Listener) net.Listener { return clientListener{l, s.opts.Clock} }

func (s *Server) serve(mux *portmux.Mux, announcements ...string) error {
	if !s.keep(mux) {
		return mux.Close()
	}
	select {
	case <-s.ready:
	case <-s.stop.Done():
		return nil // Stop has closed the listener
	}
	s.opts.Logger.Info("ready to serve client requests")
	var serving sync.WaitGroup
	defer serving.Wait()
	var grpcErr, httpErr error
	serving.Go(func() { grpcErr = s.grpc.Serve(mux.GRPC()) })
	serving.Go(func() { httpErr = s.http.Serve(mux.HTTP()) })
	for _, announcement := range announcements {
		s.opts.Logger.Info(announcement, zap.String("traffic", "grpc+http"), zap.String("address", mux.GRPC().Addr().String()))
	}
	err := mux.Serve()
	serving.Wait()
	return s.serveError(errors.Join(err, grpcErr, httpErr))
}

// ServeMetrics answers /metrics and health on l until Stop.
func (s *Server) ServeMetrics(l net.Listener) error {
	return s.serveError(s.observe.Serve(l))
}

// ServeMetricsTLS is ServeMetrics for clients that begin with a handshake.
func (s *Server) ServeMetricsTLS(l net.Listener, handshake portmux.Handshake) error {
	return s.ServeMetrics(portmux.Listen(l, s.opts.Clock, s.opts.FirstBytesTimeout, handshake))
}

// serveError leaves out what Stop causes.
func (s *Server) serveError(err error) error {
	if s.stop.Err() != nil {
		return nil
	}
	return err
}

// keep notes what Stop is to close; false when that has been.
func (s *Server) keep(open io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Err() != nil {
		return false
	}
	s.open = append(s.open, open)
	return true
}

// Stop takes no more connections, ends streams, waits for requests in flight
// until ctx ends and then cuts them off. The log must still be running. The
// error is ctx's if they were cut off.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.cancel()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	s.health.Shutdown()
	s.auth.EndWaiting()
	// Its context has ended then, which is an error to it. Nothing else can be wrong.
	_ = s.inner.Close()

	var errs []error
	for _, o := range open {
		errs = append(errs, o.Close())
	}
	for _, h := range []*http.Server{s.http, s.onlyHTTP, s.observe} {
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, err, h.Close()) // the gRPC server waits for what it serves there
		}
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		s.grpc.GracefulStop()
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("etcdapi: requests cut off: %w", ctx.Err()))
		s.grpc.Stop()
		<-finished
	}
	errs = append(errs, s.closeGateway())
	s.background.Wait()
	s.lessor.Close()
	s.auth.Close()
	return errors.Join(errs...)
}
