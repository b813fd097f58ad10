// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"keelson.io/keelson/test/harness"
)

// collector takes spans as an OpenTelemetry collector does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	address string

	mu       sync.Mutex
	requests []*collectorpb.ExportTraceServiceRequest
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := &collector{address: l.Addr().String()}, grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// Export implements the collector's service.
func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// own are attributes that differ between two servers, or two requests.
var own = []string{"network.peer.", "server.", "client.", "net."}

func describe(attributes []*commonpb.KeyValue) string {
	var all []string
	for _, a := range attributes {
		if slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(a.Key, prefix) }) {
			all = append(all, a.Key)
			continue
		}
		all = append(all, fmt.Sprintf("%s=%v", a.Key, a.Value))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// spans are those of one trace, with the name of the span that each is below.
func (c *collector) spans(trace []byte) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, lines := map[string]string{}, []string{}
	for pass := range 2 {
		for _, request := range c.requests {
			for _, r := range request.ResourceSpans {
				for _, scope := range r.ScopeSpans {
					for _, s := range scope.Spans {
						if !slices.Equal(s.TraceId, trace) {
							continue
						}
						if pass == 0 {
							names[string(s.SpanId)] = s.Name
							continue
						}
						lines = append(lines, fmt.Sprintf("%s %s below %q, %s: %s [%s] %v, status %v", scope.Scope.Name, s.Name,
							names[string(s.ParentSpanId)], s.Kind, describe(s.Attributes), describe(r.Resource.Attributes), events(s.Events), s.Status))
					}
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func events(all []*tracepb.Span_Event) []string {
	var names []string
	for _, e := range all {
		names = append(names, e.Name+describe(e.Attributes))
	}
	return names
}

// traced is a trace that a client has begun, and had decided to be sent.
var traced = []byte{0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// requestTraces sends one request of each kind that etcd makes spans of.
func requestTraces(t *testing.T, endpoint string) {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	parent := fmt.Sprintf("00-%x-00f067aa0ba902b7-01", traced)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	leases := pb.NewLeaseClient(cli.ActiveConnection())
	_, err = leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 77, TTL: 600})
	must(err)
	_, err = cli.KeepAliveOnce(ctx, 77)
	must(err)
	_, err = cli.Revoke(ctx, 77)
	must(err)
	_, err = cli.Put(ctx, "key", "value")
	must(err)
	_, err = cli.Get(ctx, "a", clientv3.WithRange("z"), clientv3.WithLimit(7), clientv3.WithKeysOnly())
	must(err)
	_, err = cli.Txn(ctx).If(clientv3.Compare(clientv3.Value("key"), "=", "value")).
		Then(clientv3.OpPut("other", "x"), clientv3.OpGet("key")).Else(clientv3.OpDelete("gone")).Commit()
	must(err)
	_, err = cli.Txn(ctx).Then(clientv3.OpGet("", clientv3.WithFromKey()), clientv3.OpGet("second")).Commit()
	must(err)
	_, err = cli.Delete(ctx, "a", clientv3.WithRange("b"))
	must(err)
	_, err = cli.Compact(ctx, 2)
	must(err)
	if _, err = cli.Put(ctx, "key", "value", clientv3.WithLease(12345)); err == nil {
		t.Fatal("a lease that is not there was taken")
	}
	if _, err = cli.Get(ctx, ""); err == nil {
		t.Fatal("an empty key was taken")
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	for r := range cli.Watch(watchCtx, "key", clientv3.WithRev(3), clientv3.WithPrevKV(), clientv3.WithCreatedNotify()) {
		must(r.Err())
		if r.Created {
			break
		}
	}
}

// streamStatus is how a stream has ended.
var streamStatus = regexp.MustCompile(`rpc\.response\.status_code=string_value:"[A-Z]+"| status .*$|, SPAN_STATUS.*$`)

// TestTracing wants the spans that etcd sends, with their names, places and
// attributes.
func TestTracing(t *testing.T) {
	sent := map[harness.Kind][]string{}
	for _, kind := range bothKinds {
		c := startCollector(t)
		s := harness.Start(t, kind, harness.Options{Args: []string{"--enable-distributed-tracing", "--distributed-tracing-address=" + c.address,
			"--distributed-tracing-service-name=store", "--distributed-tracing-instance-id=n1"}})
		requestTraces(t, s.Endpoint())
		s.Stop() // sends what is left
		sent[kind] = c.spans(traced)
		for i, line := range sent[kind] {
			// The client ends its streams while the server answers, or ends: either may be first.
			if strings.Contains(line, "Lease/LeaseKeepAlive") || strings.Contains(line, "Watch/Watch") {
				sent[kind][i] = streamStatus.ReplaceAllString(line, "")
			}
		}
	}
	theirs, ours := sent[harness.Etcd], sent[harness.Keelson]
	if len(theirs) < 20 {
		t.Errorf("etcd sends %d spans: %s", len(theirs), strings.Join(theirs, "\n"))
	}
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			t.Errorf("only etcd sends: %s", line)
		}
	}
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			t.Errorf("only keelson sends: %s", line)
		}
	}
}

// TestTracingSampling wants no spans without sampling, and all of them with all.
func TestTracingSampling(t *testing.T) {
	for _, test := range []struct {
		rate string
		want bool
	}{{"0", false}, {"1000000", true}} {
		c := startCollector(t)
		s := harness.Start(t, harness.Keelson, harness.Options{Args: []string{"--enable-distributed-tracing", "--distributed-tracing-address=" + c.address,
			"--distributed-tracing-sampling-rate=" + test.rate}})
		cli, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cli.Put(t.Context(), "key", "value"); err != nil {
			t.Error(err)
		}
		if err := cli.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
		if got := len(c.requests) > 0; got != test.want {
			t.Errorf("at the rate %s spans are sent: %v", test.rate, got)
		}
	}
}

// TestTracingWithoutCollector wants a server to serve and to end in time when nobody takes its spans.
func TestTracingWithoutCollector(t *testing.T) {
	nobody := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s := harness.Start(t, harness.Keelson, harness.Options{Args: []string{"--enable-distributed-tracing", "--distributed-tracing-address=" + nobody,
		"--distributed-tracing-sampling-rate=1000000"}})
	requestTraces(t, s.Endpoint())
	s.Stop()
	s.Expect(0)
	if !strings.Contains(s.Log(), "cannot send spans") {
		t.Error("the log does not say that spans are lost")
	}
}
