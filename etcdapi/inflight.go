// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore/wire"
)

// Answers to lists are in memory from when they are read until the client has taken
// them, which is up to the client. Their bytes are bounded: a list that would exceed
// the bound waits for others to be taken.

// smallAnswerBytes is the size up to which an answer is not counted: many of them fit,
// and counting has a price.
const smallAnswerBytes = 64 << 10

// inFlight bounds the bytes of answers to lists.
type inFlight struct {
	*core
	limit int64
	free  *semaphore.Weighted
	bytes prometheus.Gauge
	waits prometheus.Counter
}

func newInFlight(c *core) *inFlight {
	limit := c.opts.RangeBytesInFlight
	return &inFlight{
		core: c, limit: limit, free: semaphore.NewWeighted(limit),
		bytes: c.metrics.RangeBytesInFlight, waits: c.metrics.RangeWaits,
	}
}

// answer is one that may have to be counted.
type answer struct {
	*inFlight
	ctx  context.Context
	conn *clientConn
	held int64
	once sync.Once
}

// answerTo returns the account of an answer to the client that ctx is of, nil if it is
// not one that is served over the network.
func (f *inFlight) answerTo(ctx context.Context) *answer {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	addr, ok := p.Addr.(clientAddr)
	if !ok {
		return nil
	}
	return &answer{inFlight: f, ctx: ctx, conn: addr.conn}
}

// admit waits until an answer of some bytes may be read. Errors: raftlog.ErrTooManyRequests
// when that takes longer than a request may, and ctx's.
func (a *answer) admit(bytes int64) error {
	bytes = min(bytes, a.limit) // one that is larger is alone
	if bytes <= smallAnswerBytes || a.held > 0 {
		return nil // held: it is read once more, from a newer state
	}
	if !a.free.TryAcquire(bytes) {
		a.waits.Inc()
		bounded, cancel := a.bounded(a.ctx)
		defer cancel()
		if a.free.Acquire(bounded, bytes) != nil {
			if err := a.ctx.Err(); err != nil {
				return err
			}
			return raftlog.ErrTooManyRequests
		}
	}
	a.held = bytes
	a.inFlight.bytes.Add(float64(bytes))
	a.conn.hold(a)
	return nil
}

// release gives the bytes back. It may be called more than once.
func (a *answer) release() {
	a.once.Do(func() {
		a.conn.forget(a)
		a.inFlight.bytes.Sub(float64(a.held))
		a.free.Release(a.held)
	})
}

// sent has resp's bytes given back when it is sent, or, if there was an error, now.
func (a *answer) sent(resp *wire.RangeResponse, err error) {
	switch {
	case a.held == 0:
	case err != nil:
		a.release()
	default:
		resp.Sent = a.release
	}
}

// clientListener accepts connections that know what answers are on their way.
type clientListener struct{ net.Listener }

// Accept implements net.Listener.
func (l clientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: conn, answers: make(map[*answer]struct{})}, nil
}

// clientConn is a client's connection. When it is closed nobody takes the answers any
// more that are on their way, and grpc does not tell of them.
type clientConn struct {
	net.Conn
	mu      sync.Mutex
	closed  bool
	answers map[*answer]struct{}
}

// clientAddr is the address by which a request's context leads to its connection.
type clientAddr struct {
	net.Addr
	conn *clientConn
}

// RemoteAddr implements net.Conn.
func (c *clientConn) RemoteAddr() net.Addr { return clientAddr{c.Conn.RemoteAddr(), c} }

// Close implements net.Conn.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	c.closed = true
	left := c.answers
	c.answers = nil
	c.mu.Unlock()
	for a := range left {
		a.release()
	}
	return err
}

func (c *clientConn) hold(a *answer) {
	c.mu.Lock()
	if !c.closed {
		c.answers[a] = struct{}{}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	a.release()
}

func (c *clientConn) forget(a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.answers, a)
}
