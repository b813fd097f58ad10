// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package inproc

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/etcdapi/codec"
)

// Conn is a connection to the services that were registered with it. All of them
// must be before the first request.
type Conn struct{ services map[string]service }

type service struct {
	impl    any
	methods map[string]grpc.MethodDesc
	streams map[string]grpc.StreamDesc
}

var (
	_ grpc.ClientConnInterface = (*Conn)(nil)
	_ grpc.ServiceRegistrar    = (*Conn)(nil)
)

// NewConn returns a connection without services.
func NewConn() *Conn { return &Conn{services: make(map[string]service)} }

// RegisterService implements grpc.ServiceRegistrar.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s := service{impl: impl, methods: make(map[string]grpc.MethodDesc), streams: make(map[string]grpc.StreamDesc)}
	for _, m := range desc.Methods {
		s.methods[m.MethodName] = m
	}
	for _, d := range desc.Streams {
		s.streams[d.StreamName] = d
	}
	c.services[desc.ServiceName] = s
}

// Invoke implements grpc.ClientConnInterface. The call's options are for a
// connection on the wire and mean nothing here.
func (c *Conn) Invoke(ctx context.Context, fullMethod string, request, response any, _ ...grpc.CallOption) error {
	s, name := c.find(fullMethod)
	method, known := s.methods[name]
	if !known {
		return unknown(fullMethod)
	}
	message, err := encode(request)
	if err != nil {
		return err
	}
	answer, err := method.Handler(s.impl, ctx, func(into any) error { return decode(message, into) }, nil)
	if err != nil {
		return err
	}
	if message, err = encode(answer); err != nil {
		return err
	}
	return decode(message, response)
}

// NewStream implements grpc.ClientConnInterface. The stream's method runs until it
// returns or ctx ends; whoever opens a stream ends ctx when it is done.
func (c *Conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, fullMethod string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	s, name := c.find(fullMethod)
	method, known := s.streams[name]
	if !known {
		return nil, unknown(fullMethod)
	}
	p := newPipe(ctx)
	go func() { p.finish(method.Handler(s.impl, &serverStream{p})) }()
	return &clientStream{p}, nil
}

func (c *Conn) find(fullMethod string) (s service, method string) {
	name, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return c.services[name], method
}

func unknown(fullMethod string) error {
	return status.Errorf(codes.Unimplemented, "inproc: no method %s", fullMethod)
}

// encode returns a message's bytes, which nobody else holds.
func encode(message any) ([]byte, error) {
	data, err := codec.Codec{}.Marshal(message)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "inproc: %v", err)
	}
	defer data.Free()
	return data.Materialize(), nil
}

func decode(message []byte, into any) error {
	if err := (codec.Codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(message)}, into); err != nil {
		return status.Errorf(codes.Internal, "inproc: %v", err)
	}
	return nil
}
