// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rpcMetrics are the grpc_server_* metrics under the names that etcd has from
// go-grpc-middleware. That one looks its counters up by labels several times a
// request, which costs as much as a tenth of a small one; here every method has
// its own at hand.
type rpcMetrics struct {
	started, received, sent *prometheus.CounterVec
	handled                 *prometheus.CounterVec
	seconds                 *prometheus.HistogramVec // nil unless extensive

	methods map[string]*methodMetrics // by full name; fixed before the first request
}

func newRPCMetrics(reg prometheus.Registerer, detail string) *rpcMetrics {
	method := []string{"grpc_type", "grpc_service", "grpc_method"}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "grpc_server_" + name, Help: help}, append(method, labels...))
		reg.MustRegister(vec)
		return vec
	}
	m := &rpcMetrics{
		started:  counters("started_total", "RPCs begun."),
		received: counters("msg_received_total", "Messages received from clients."),
		sent:     counters("msg_sent_total", "Messages sent to clients."),
		handled:  counters("handled_total", "RPCs ended, by the code they ended with.", "grpc_code"),
		methods:  make(map[string]*methodMetrics),
	}
	if detail == extensiveMetrics {
		m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "Duration of RPCs.", Buckets: prometheus.DefBuckets,
		}, method)
		reg.MustRegister(m.seconds)
	}
	return m
}

// initialize makes the metrics of all methods that a server has, so that they
// are there, and 0, before the first request.
func (m *rpcMetrics) initialize(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			m.methods["/"+service+"/"+method.Name] = m.of(rpcType(method), service, method.Name)
		}
	}
}

func rpcType(m grpc.MethodInfo) string {
	switch {
	case m.IsClientStream && m.IsServerStream:
		return "bidi_stream"
	case m.IsClientStream:
		return "client_stream"
	case m.IsServerStream:
		return "server_stream"
	}
	return "unary"
}

func (m *rpcMetrics) of(kind, service, method string) *methodMetrics {
	labels := []string{kind, service, method}
	out := &methodMetrics{
		started:  m.started.WithLabelValues(labels...),
		received: m.received.WithLabelValues(labels...),
		sent:     m.sent.WithLabelValues(labels...),
	}
	for code := range out.handled {
		out.handled[code] = m.handled.WithLabelValues(append(labels, codes.Code(code).String())...)
	}
	if m.seconds != nil {
		out.seconds = m.seconds.WithLabelValues(labels...)
	}
	return out
}

// method returns a method's metrics. grpc only calls methods that it was told of.
func (m *rpcMetrics) method(fullName string) *methodMetrics {
	if method := m.methods[fullName]; method != nil {
		return method
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(fullName, "/"), "/")
	return m.of("unary", service, name)
}

// methodMetrics are those of one method.
type methodMetrics struct {
	started, received, sent prometheus.Counter
	handled                 [codes.Unauthenticated + 1]prometheus.Counter // by code
	seconds                 prometheus.Observer                           // nil unless extensive
}

// finish counts the end of an RPC.
func (m *methodMetrics) finish(took time.Duration, err error) {
	code := codes.OK
	if err != nil {
		s, ok := status.FromError(err)
		if !ok {
			s = status.FromContextError(err)
		}
		if code = s.Code(); int(code) >= len(m.handled) {
			code = codes.Unknown
		}
	}
	m.handled[code].Inc()
	if m.seconds != nil {
		m.seconds.Observe(took.Seconds())
	}
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	metrics *methodMetrics
}

// SendMsg implements grpc.ServerStream.
func (s *countedStream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.metrics.sent.Inc()
	}
	return err
}

// RecvMsg implements grpc.ServerStream.
func (s *countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.metrics.received.Inc()
	}
	return err
}
