// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package inproc

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// pipe is a stream, of which both ends have a view.
type pipe struct {
	ctx    context.Context // of both ends; it ends when the method has returned
	cancel context.CancelFunc

	toServer, toClient chan []byte

	closing sync.Once
	closed  chan struct{} // the client sends no more

	finished chan struct{} // the method has returned, with err
	err      error
}

func newPipe(ctx context.Context) *pipe {
	p := &pipe{
		toServer: make(chan []byte, 1), toClient: make(chan []byte, 1),
		closed: make(chan struct{}), finished: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// finish ends the stream with what its method has returned.
func (p *pipe) finish(err error) {
	if err == nil {
		err = io.EOF
	}
	p.err = err
	close(p.finished)
	p.cancel()
}

// ended is the error of a stream whose context has ended.
func (p *pipe) ended() error {
	select {
	case <-p.finished:
		return p.err
	default:
		return status.FromContextError(p.ctx.Err()).Err()
	}
}

// serverStream is the end that a service has.
type serverStream struct{ *pipe }

var _ grpc.ServerStream = (*serverStream)(nil)

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ServerStream.
func (s *serverStream) SendMsg(m any) error {
	message, err := encode(m)
	if err != nil {
		return err
	}
	select {
	case s.toClient <- message:
		return nil
	case <-s.ctx.Done():
		return s.ended()
	}
}

// RecvMsg implements grpc.ServerStream.
func (s *serverStream) RecvMsg(m any) error {
	select {
	case message := <-s.toServer:
		return decode(message, m)
	case <-s.ctx.Done():
		return s.ended()
	case <-s.closed:
	}
	select {
	case message := <-s.toServer: // sent before the end
		return decode(message, m)
	default:
		return io.EOF
	}
}

// Nothing looks at the metadata of a stream in this process.

// SetHeader implements grpc.ServerStream.
func (s *serverStream) SetHeader(metadata.MD) error { return nil }

// SendHeader implements grpc.ServerStream.
func (s *serverStream) SendHeader(metadata.MD) error { return nil }

// SetTrailer implements grpc.ServerStream.
func (s *serverStream) SetTrailer(metadata.MD) {}

// clientStream is the end of who has opened the stream.
type clientStream struct{ *pipe }

var _ grpc.ClientStream = (*clientStream)(nil)

// Context implements grpc.ClientStream.
func (c *clientStream) Context() context.Context { return c.ctx }

// SendMsg implements grpc.ClientStream.
func (c *clientStream) SendMsg(m any) error {
	message, err := encode(m)
	if err != nil {
		return err
	}
	select {
	case c.toServer <- message:
		return nil
	case <-c.ctx.Done():
		return io.EOF // RecvMsg tells why
	}
}

// RecvMsg implements grpc.ClientStream. Messages that were sent before the method
// returned come first.
func (c *clientStream) RecvMsg(m any) error {
	select {
	case message := <-c.toClient:
		return decode(message, m)
	case <-c.ctx.Done():
	}
	select {
	case message := <-c.toClient:
		return decode(message, m)
	default:
		return c.ended()
	}
}

// CloseSend implements grpc.ClientStream. Nothing is sent after it.
func (c *clientStream) CloseSend() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

// Header implements grpc.ClientStream.
func (c *clientStream) Header() (metadata.MD, error) { return nil, nil }

// Trailer implements grpc.ClientStream.
func (c *clientStream) Trailer() metadata.MD { return nil }
