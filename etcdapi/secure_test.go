// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/etcdapi/portmux"
	"keelson.io/keelson/test/harness"
)

// TestHandlersSeeTheCertificate calls through the layers that a client's connection has: who may do what can hang on
// the certificate, whichever way the call comes.
func TestHandlersSeeTheCertificate(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	pair, user := ca.Issue(harness.Leaf{CN: "server", Hosts: []string{"127.0.0.1"}}), ca.Issue(harness.Leaf{CN: "alice"})
	certificate, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"},
	}
	for name, offered := range map[string][]string{"gRPC's own server": {"h2"}, "the HTTP server": {"h2", "http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan credentials.AuthInfo, 1)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			mux := portmux.NewSecure(clientListener{l, clockwork.NewRealClock()}, clockwork.NewRealClock(), time.Minute, func(ctx context.Context, conn net.Conn) (*tls.Conn, []string, error) {
				secure := tls.Server(conn, config)
				return secure, offered, secure.HandshakeContext(ctx)
			})
			server := grpc.NewServer(grpc.Creds(shaken{insecure.NewCredentials()}), grpc.UnaryInterceptor(
				func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
					p, _ := peer.FromContext(ctx)
					seen <- p.AuthInfo
					return handle(ctx, req)
				}))
			healthpb.RegisterHealthServer(server, grpchealth.NewServer())
			s := &Server{core: &core{opts: &Options{MaxConcurrentStreams: 100}}, grpc: server}
			web := s.newHTTP(s.grpcOr(nil))
			go func() { _ = mux.Serve() }() // ends with the test, by Close
			go func() { _ = server.Serve(mux.GRPC()) }()
			go func() { _ = web.Serve(mux.HTTP()) }()
			t.Cleanup(func() {
				_ = mux.Close()
				_ = web.Close()
				server.Stop()
			})
			conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.Client(user))))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := healthpb.NewHealthClient(conn).Check(testContext(t), &healthpb.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
			info, ok := (<-seen).(credentials.TLSInfo)
			var chains [][]*x509.Certificate
			if ok {
				chains = info.State.VerifiedChains
			}
			if len(chains) == 0 || chains[0][0].Subject.CommonName != "alice" {
				t.Errorf("the handler sees %v", chains)
			}
		})
	}
}
