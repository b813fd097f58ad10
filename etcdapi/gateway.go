// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/tmc/grpc-websocket-proxy/wsproxy"
	etcdservergw "go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	v3electiongw "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb/gw"
	v3lockgw "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb/gw"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
)

// Paths of the JSON gateway, the second one as etcd 3.3 had it.
const (
	gatewayPath     = "/v3/"
	gatewayBetaPath = "/v3beta/"
)

// gatewayBufferBytes is how much may be under way, in each direction, between the
// gateway and the gRPC server.
const gatewayBufferBytes = 256 << 10

// gateway answers JSON over HTTP with what the gRPC server answers. It is that
// server's client, over a connection within the process: its requests pass the
// interceptors and are counted. As in etcd they have the token of an Authorization
// header and never a client's certificate.
type gateway struct {
	listener *bufconn.Listener
	conn     *grpc.ClientConn
	handler  http.Handler
}

// gatewayServices are those that etcd's gateway has.
var gatewayServices = []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
	etcdservergw.RegisterKVHandler,
	etcdservergw.RegisterWatchHandler,
	etcdservergw.RegisterLeaseHandler,
	etcdservergw.RegisterClusterHandler,
	etcdservergw.RegisterMaintenanceHandler,
	etcdservergw.RegisterAuthHandler,
	v3lockgw.RegisterLockHandler,
	v3electiongw.RegisterElectionHandler,
}

// jsonShare is how much larger a request may be as JSON than as a gRPC message.
const jsonShare = 8

// boundedJSON reads requests of a limited size: they are in memory before anybody
// looks at who sends them. Of a stream each may be as large.
type boundedJSON struct {
	runtime.Marshaler
	limit int
}

// NewDecoder implements runtime.Marshaler.
func (m boundedJSON) NewDecoder(r io.Reader) runtime.Decoder {
	bounded := &boundedReader{from: r}
	next := m.Marshaler.NewDecoder(bounded)
	return runtime.DecoderFunc(func(v any) error {
		bounded.left = m.limit
		return next.Decode(v)
	})
}

// boundedReader reads only so much.
type boundedReader struct {
	from io.Reader
	left int
}

// Read implements io.Reader.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, rpctypes.ErrRequestTooLarge
	}
	n, err := r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// newGateway returns a gateway to the gRPC server that serves its listener, for
// requests of at most limit bytes. Its services let go of the connection when stop ends.
func newGateway(stop context.Context, logger *zap.Logger, limit int) (*gateway, error) {
	listener := bufconn.Listen(gatewayBufferBytes)
	conn, err := grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("etcdapi: gateway: %w", err)
	}
	mux := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
		Marshaler: boundedJSON{&runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}, limit},
	}))
	for _, register := range gatewayServices {
		if err := register(stop, mux, conn); err != nil {
			return nil, fmt.Errorf("etcdapi: gateway: %w", err)
		}
	}
	return &gateway{listener: listener, conn: conn, handler: withWebsockets(mux, logger)}, nil
}

// maxWebsocketBytes is the largest message to a websocket, as in etcd.
const maxWebsocketBytes = math.MaxInt32

// withWebsockets serves streams over websockets, too, a JSON message a line.
func withWebsockets(next http.Handler, logger *zap.Logger) http.Handler {
	return wsproxy.WebsocketProxy(next,
		wsproxy.WithRequestMutator(func(_, outgoing *http.Request) *http.Request {
			outgoing.Method = http.MethodPost // a websocket is opened by GET
			return outgoing
		}),
		wsproxy.WithMaxRespBodyBufferSize(maxWebsocketBytes),
		wsproxy.WithLogger(websocketLogger{logger.Sugar()}))
}

// websocketLogger is a wsproxy.Logger.
type websocketLogger struct{ *zap.SugaredLogger }

// Warnln implements wsproxy.Logger.
func (l websocketLogger) Warnln(args ...any) { l.Warn(args...) }

// Debugln implements wsproxy.Logger.
func (l websocketLogger) Debugln(args ...any) { l.Debug(args...) }

// openGateway makes the gateway, unless it is disabled, and has the gRPC server
// serve it.
func (s *Server) openGateway() error {
	if s.opts.DisableGateway {
		return nil
	}
	g, err := newGateway(s.stop, s.opts.Logger, jsonShare*s.opts.maxMessageBytes())
	if err != nil {
		return err
	}
	s.gateway = g
	s.background.Go(func() {
		if err := s.grpc.Serve(g.listener); err != nil {
			s.opts.Logger.Debug("the gateway is served no more", zap.Error(err))
		}
	})
	return nil
}

// closeGateway ends the connection that openGateway made.
func (s *Server) closeGateway() error {
	if s.gateway == nil {
		return nil
	}
	return s.gateway.conn.Close()
}

// install serves the gateway's paths.
func (g *gateway) install(mux *http.ServeMux) {
	mux.Handle(gatewayPath, g.handler)
	mux.HandleFunc(gatewayBetaPath, func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, gatewayBetaPath, gatewayPath, 1)
		g.handler.ServeHTTP(w, r)
	})
}
