// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"encoding/json"
	"expvar"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/version"
	"go.uber.org/zap"
)

// httpHandler serves etcd's HTTP endpoints: /version, /metrics, /debug/vars, health,
// the JSON gateway, and /debug/pprof if enabled.
func (s *Server) httpHandler() http.Handler {
	mux := s.observingHandler()
	mux.HandleFunc("/version", s.serveVersion)
	mux.Handle("/debug/vars", expvar.Handler())
	if s.gateway != nil {
		s.gateway.install(mux)
	}
	if s.opts.Profiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return s.controlAccess(mux)
}

// observingHandler serves what a listener for metrics has: /metrics and health.
func (s *Server) observingHandler() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(s.opts.Registerer,
		promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{})))
	newHealth(s.core).install(mux)
	return mux
}

func (s *Server) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	v := version.Versions{Server: version.Version, Cluster: "not_decided", Storage: "unknown"}
	if agreed := s.store.ClusterVersion(); agreed != "" {
		v.Cluster = agreed
	}
	if storage := (versions{core: s.core}).GetStorageVersion(); storage != nil {
		v.Storage = storage.String()
	}
	w.Header().Set("Content-Type", "application/json")
	s.reply(w, v)
}

// reply writes v as JSON. What can't be written any more, nobody waits for.
func (s *Server) reply(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := w.Write(data); err != nil {
		s.opts.Logger.Debug("failed to write an HTTP response", zap.Error(err))
	}
}

func allowGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// excludedNames are the values of the query's exclude parameters.
func excludedNames(r *http.Request) map[string]bool {
	names := make(map[string]bool)
	for _, name := range r.URL.Query()["exclude"] {
		if name = strings.TrimSpace(name); name != "" {
			names[name] = true
		}
	}
	return names
}
