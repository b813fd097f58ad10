// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// health answers whether this node works, in etcd's three ways: /health in
// JSON, /livez (restart it if not) and /readyz (send it nothing if not) as a
// list of checks, each of which has a path of its own.
type health struct{ *core }

func newHealth(c *core) health { return health{core: c} }

// check is one thing that can be wrong.
type check struct {
	name string
	run  func(context.Context) error
}

func (h health) install(mux *http.ServeMux) {
	mux.HandleFunc("/health", h.serveHealth)
	local := check{"serializable_read", h.canReadLocally}
	h.installChecks(mux, "livez", []check{local})
	h.installChecks(mux, "readyz", []check{
		{"data_corruption", h.notCorrupt},
		local,
		{"linearizable_read", h.canReadLinearizably},
		{"non_learner", h.votes},
	})
}

// probe is a read that needs next to nothing.
func probe() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1}
}

func (h health) canReadLocally(ctx context.Context) error {
	r := probe()
	r.Serializable = true
	_, err := h.readRange(ctx, r, h.store.Range)
	return grpcError(err)
}

func (h health) canReadLinearizably(ctx context.Context) error {
	_, err := h.readRange(ctx, probe(), h.store.Range)
	return grpcError(err)
}

func (h health) notCorrupt(context.Context) error {
	if len(h.store.Alarms(pb.AlarmType_CORRUPT)) > 0 {
		return fmt.Errorf("alarm activated: %s", pb.AlarmType_CORRUPT)
	}
	return nil
}

func (h health) votes(context.Context) error {
	if h.log.Status().Learner {
		return errors.New("not supported for learner")
	}
	return nil
}

// healthAnswer is /health's.
type healthAnswer struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serveHealth is etcd's oldest check: no alarm, a leader, and a read that works.
// ?serializable=true leaves the rest of the cluster out, ?exclude=NOSPACE an alarm.
func (h health) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	answer := healthAnswer{Health: "true", Reason: h.unhealthy(r)}
	if answer.Reason != "" {
		answer.Health = "false"
	}
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if answer.Reason != "" {
		h.metrics.HealthFailures.Inc()
		h.opts.Logger.Warn("/health error", zap.String("output", string(text)), zap.Int("status-code", http.StatusServiceUnavailable))
		http.Error(w, string(text), http.StatusServiceUnavailable)
		return
	}
	h.metrics.HealthSuccesses.Inc()
	h.write(w, string(text))
}

// unhealthy returns what is wrong, empty for nothing.
func (h health) unhealthy(r *http.Request) string {
	excluded := excludedNames(r)
	for _, a := range h.alarms() {
		if !excluded[a.Alarm.String()] {
			return "ALARM " + a.Alarm.String()
		}
	}
	read := h.canReadLinearizably
	if r.URL.Query().Get("serializable") == "true" {
		read = h.canReadLocally
	} else if h.log.Leader() == 0 {
		return "RAFT NO LEADER"
	}
	if err := read(r.Context()); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// installChecks serves all checks at /kind and each at /kind/name.
func (h health) installChecks(mux *http.ServeMux, kind string, checks []check) {
	mux.HandleFunc("/"+kind, func(w http.ResponseWriter, r *http.Request) {
		excluded := excludedNames(r)
		var chosen []check
		for _, c := range checks {
			if !excluded[c.name] {
				chosen = append(chosen, c)
			}
		}
		h.serveChecks(w, r, kind, chosen)
	})
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, func(w http.ResponseWriter, r *http.Request) {
			h.serveChecks(w, r, kind, []check{c})
		})
	}
}

// serveChecks answers "ok", after a line for each check if ?verbose, or 503 with
// those lines.
func (h health) serveChecks(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	if !allowGet(w, r) {
		return
	}
	var lines strings.Builder
	failed := false
	for _, c := range checks {
		if err := c.run(r.Context()); err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
			h.record(kind, c.name, "error")
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		h.record(kind, c.name, "success")
	}
	if failed {
		h.opts.Logger.Error("Health check error", zap.String("path", r.URL.Path),
			zap.String("reason", lines.String()), zap.Int("status-code", http.StatusServiceUnavailable))
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, verbose := r.URL.Query()["verbose"]; !verbose {
		lines.Reset()
	}
	h.write(w, lines.String()+"ok\n")
}

func (h health) record(kind, name, result string) {
	value := 0.0
	if result == "success" {
		value = 1
	}
	h.metrics.HealthCheck.WithLabelValues(kind, name).Set(value)
	h.metrics.HealthChecks.WithLabelValues(kind, name, result).Inc()
}

// write sends an answer. What can't be written any more, nobody waits for.
func (h health) write(w http.ResponseWriter, text string) {
	if _, err := w.Write([]byte(text)); err != nil {
		h.opts.Logger.Debug("failed to write a health response", zap.Error(err))
	}
}
