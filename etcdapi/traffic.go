// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"net"
	"sync"

	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi/portmux"
)

// Traffic is what a listener is for, if not for gRPC and HTTP alike.
type Traffic string

// The kinds of traffic that a listener may be for alone.
const (
	OnlyGRPC Traffic = "grpc"
	OnlyHTTP Traffic = "http"
)

// ServeOnly is Serve for one kind of traffic: nobody looks at the first bytes of its
// connections. A handshake, if there is one, comes first.
func (s *Server) ServeOnly(traffic Traffic, l net.Listener, handshake portmux.Handshake) error {
	l = s.ofClients(l)
	announcement := servingPlain
	if handshake != nil {
		announcement = servingSecure
		l = portmux.Listen(l, s.opts.Clock, s.opts.FirstBytesTimeout, handshake)
	}
	l = &onceListener{Listener: l} // both Stop and who serves close it
	if !s.keep(l) {
		return l.Close()
	}
	select {
	case <-s.ready:
	case <-s.stop.Done():
		return nil // Stop has closed the listener
	}
	s.opts.Logger.Info("ready to serve client requests")
	s.opts.Logger.Info(announcement, zap.String("traffic", string(traffic)), zap.String("address", l.Addr().String()))
	if traffic == OnlyGRPC {
		return s.serveError(s.grpc.Serve(l))
	}
	return s.serveError(s.onlyHTTP.Serve(l))
}

// onceListener can be closed more than once.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error
}

// Close implements net.Listener.
func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
