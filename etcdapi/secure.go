// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/credentials"
)

// shaken are the credentials of connections on which hands were shaken before, and
// the ones that it holds of plain connections: one gRPC server is for both.
type shaken struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials: handlers find the
// client's certificate in their peer's AuthInfo.
func (s shaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return s.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State:          secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (s shaken) Clone() credentials.TransportCredentials {
	return shaken{s.TransportCredentials.Clone()}
}

// grpcOr has the gRPC server answer calls that come over HTTP/2 to the HTTP server:
// those of secure clients, mostly proxies, that would have spoken HTTP/1 as well.
// That way is slower than the one of the other gRPC clients.
func (s *Server) grpcOr(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.Contains(r.Header.Get("Content-Type"), "application/grpc") {
			s.grpc.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
