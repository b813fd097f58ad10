// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.etcd.io/etcd/pkg/v3/httputil"
	"go.uber.org/zap"
)

// anyOf is the entry of a list that lets everyone pass.
const anyOf = "*"

// listed says whether a list lets a name pass: an empty one does so with all.
func listed(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, anyOf) || slices.Contains(list, name)
}

// controlAccess is what HTTP requests of clients pass first. Requests without TLS
// must be for a host of the whitelist: a web page could else have its own name
// resolve to this server and would then be let in by the browser (CVE-2018-5702).
// The gateway refuses certificates that name a user, for it can't ask as that one.
// Pages of the origins of CORS may read the answers.
func (s *Server) controlAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := httputil.GetHostname(r); r.TLS == nil && !listed(s.opts.HostWhitelist, host) {
			s.opts.Logger.Warn("rejecting HTTP request to prevent DNS rebinding attacks", zap.String("host", host))
			http.Error(w, unrecognizedHost(host), http.StatusMisdirectedRequest)
			return
		}
		if s.wouldIgnoreUser(r) {
			http.Error(w, "CommonName of client sending a request against gateway will be ignored and not used as expected", http.StatusBadRequest)
			return
		}
		if origin := r.Header.Get("Origin"); listed(s.opts.CORS, anyOf) {
			allowOrigin(w.Header(), anyOf)
		} else if listed(s.opts.CORS, origin) {
			allowOrigin(w.Header(), origin)
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wouldIgnoreUser says whether a request's certificate names a user and the gateway,
// where it goes, would let somebody else ask.
func (s *Server) wouldIgnoreUser(r *http.Request) bool {
	toGateway := strings.HasPrefix(r.URL.Path, gatewayPath) || strings.HasPrefix(r.URL.Path, gatewayBetaPath)
	return r.TLS != nil && toGateway && s.gateway != nil && s.auth.CertificatesAreUsers() && commonName(*r.TLS) != ""
}

func allowOrigin(header http.Header, origin string) {
	header.Add("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	header.Add("Access-Control-Allow-Origin", origin)
	header.Add("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// unrecognizedHost is etcd's answer to a request for a host that is not listed.
func unrecognizedHost(host string) string {
	return fmt.Sprintf(`
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist %q

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`, host)
}
