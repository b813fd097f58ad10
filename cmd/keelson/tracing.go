// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	tracesdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.uber.org/zap"
)

// tracing is what --distributed-tracing-* say.
type tracing struct {
	enabled               bool
	address               string
	service, instance     string
	samplingRateOfMillion int
}

const million = 1_000_000

func (t *tracing) options() []option {
	return []option{
		{name: "enable-distributed-tracing", value: value(&t.enabled, false), help: "Send spans to an OpenTelemetry collector."},
		{name: "distributed-tracing-address", value: value(&t.address, "localhost:4317"), help: "Address of the collector, which speaks OTLP over gRPC."},
		{name: "distributed-tracing-service-name", value: value(&t.service, "etcd"), help: "Name of the service in spans, the same on all members."},
		{name: "distributed-tracing-instance-id", value: value(&t.instance, ""), help: "Name of this member in spans."},
		{name: "distributed-tracing-sampling-rate", value: value(&t.samplingRateOfMillion, 0), help: "Of a million spans those that are sent, where the client has not decided."},
	}
}

func (t *tracing) check() error {
	if !t.enabled {
		return nil
	}
	wrong := func(rule string) error {
		return fmt.Errorf("distributed tracing configurition is not valid: (%s)", rule)
	}
	switch {
	case t.samplingRateOfMillion < 0:
		return wrong("tracing sampling rate must be positive")
	case t.samplingRateOfMillion > million:
		return wrong(fmt.Sprintf("tracing sampling rate must be less than %d", million))
	}
	return nil
}

// provider sends spans to the collector until it is shut down; nil if tracing is
// off. A collector that is not there is an error in the log, and no more.
func (t *tracing) provider(ctx context.Context, logger *zap.Logger) (*tracesdk.TracerProvider, error) {
	if !t.enabled {
		return nil, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(t.address))
	if err != nil {
		return nil, fmt.Errorf("--distributed-tracing-address=%s: %w", t.address, err)
	}
	// Only this and what is below it: the environment has no say.
	attributes := resource.WithAttributes(semconv.ServiceNameKey.String(t.service))
	if t.instance != "" {
		attributes = resource.WithAttributes(semconv.ServiceNameKey.String(t.service), semconv.ServiceInstanceIDKey.String(t.instance))
	}
	about, err := resource.New(ctx, attributes)
	if err != nil {
		return nil, errors.Join(err, exporter.Shutdown(ctx))
	}
	sampler := tracesdk.NeverSample()
	if t.samplingRateOfMillion > 0 {
		sampler = tracesdk.TraceIDRatioBased(float64(t.samplingRateOfMillion) / million)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("cannot send spans", zap.Error(err)) }))
	logger.Info("distributed tracing setup enabled", zap.String("address", t.address), zap.String("service-name", t.service),
		zap.String("service-instance-id", t.instance), zap.Int("sampling-rate", t.samplingRateOfMillion))
	return tracesdk.NewTracerProvider(
		tracesdk.WithBatcher(exporter), tracesdk.WithResource(about), tracesdk.WithSampler(tracesdk.ParentBased(sampler)),
	), nil
}

// flushTimeout bounds the sending of the last spans, to a collector that may be gone.
const flushTimeout = 5 * time.Second

// flushSpans sends what is not sent yet. What can't be is lost, and told.
func (n *node) flushSpans(ctx context.Context) {
	if n.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := n.spans.Shutdown(ctx); err != nil {
		n.logger.Warn("cannot send spans", zap.Error(err))
	}
}
