// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// tracingScope is what etcd calls the scope of its spans.
const tracingScope = "go.etcd.io/etcd"

// newTracer returns what makes the spans of requests, nil without a provider.
func newTracer(provider trace.TracerProvider) trace.Tracer {
	if provider == nil {
		return nil
	}
	return provider.Tracer(tracingScope)
}

// tracingOptions have the gRPC server make a span of each call, below that of its
// client if the client says so.
func (o *Options) tracingOptions() []grpc.ServerOption {
	if o.TracerProvider == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelgrpc.WithTracerProvider(o.TracerProvider),
	))}
}

// span begins etcd's span of a request below that of its call; the caller ends it.
// Without tracing nothing is done, not even the attributes are made.
func (c *core) span(ctx context.Context, name string, attributes func() []attribute.KeyValue) (context.Context, func()) {
	if c.tracer == nil {
		return ctx, func() {}
	}
	ctx, span := c.tracer.Start(ctx, name, trace.WithAttributes(attributes()...))
	return ctx, func() { span.End() }
}

// spanEvent notes in the span of a request what has happened.
func (c *core) spanEvent(ctx context.Context, name string) {
	if c.tracer != nil {
		trace.SpanFromContext(ctx).AddEvent(name)
	}
}

func rangeAttributes(r *pb.RangeRequest) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("range_begin", string(r.Key)),
		attribute.String("range_end", string(r.RangeEnd)),
		attribute.Int64("rev", r.Revision),
		attribute.Int64("limit", r.Limit),
		attribute.Bool("count_only", r.CountOnly),
	}
}

func deleteAttributes(r *pb.DeleteRangeRequest) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("range_begin", string(r.Key)),
		attribute.String("range_end", string(r.RangeEnd)),
	}
}

func txnAttributes(r *pb.TxnRequest) []attribute.KeyValue {
	kind, lease := "", int64(-1)
	if len(r.Success) > 0 {
		kind = kindOf(r.Success[0])
	}
	if i := slices.IndexFunc(r.Success, func(op *pb.RequestOp) bool { return op.GetRequestPut() != nil }); i >= 0 {
		lease = r.Success[i].GetRequestPut().Lease
	}
	return []attribute.KeyValue{
		attribute.String("compare_first_key", firstKey(r.Compare)),
		attribute.String("success_first_key", firstKey(r.Success)),
		attribute.String("success_first_type", kind),
		attribute.Int64("success_first_lease", lease),
		attribute.Int("compare_len", len(r.Compare)),
		attribute.Int("success_len", len(r.Success)),
		attribute.Int("failure_len", len(r.Failure)),
		attribute.Bool("read_only", readOnly(r)),
	}
}

// firstKey is the first key that is not empty, of compares or operations.
func firstKey[T interface{ *pb.Compare | *pb.RequestOp }](parts []T) string {
	for _, part := range parts {
		var key []byte
		switch part := any(part).(type) {
		case *pb.Compare:
			key = part.GetKey()
		case *pb.RequestOp:
			// At most one of these is not nil, and a nil one has no key.
			key = slices.Concat(part.GetRequestPut().GetKey(), part.GetRequestRange().GetKey(), part.GetRequestDeleteRange().GetKey())
		}
		if len(key) > 0 {
			return string(key)
		}
	}
	return ""
}

func kindOf(op *pb.RequestOp) string {
	switch op.GetRequest().(type) {
	case *pb.RequestOp_RequestPut:
		return "put"
	case *pb.RequestOp_RequestRange:
		return "range"
	case *pb.RequestOp_RequestDeleteRange:
		return "delete_range"
	case *pb.RequestOp_RequestTxn:
		return "txn"
	}
	return ""
}

func watchAttributes(r *pb.WatchCreateRequest) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("key", string(r.Key)),
		attribute.String("range_end", string(r.RangeEnd)),
		attribute.Int64("start_rev", r.StartRevision),
		attribute.Bool("progress_notify", r.ProgressNotify),
		attribute.Bool("prev_kv", r.PrevKv),
		attribute.Bool("fragment", r.Fragment),
	}
}
