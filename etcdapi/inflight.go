// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore/wire"
)

// Answers to lists are in memory from when they are read until the client has taken
// them, which is up to the client. Their bytes are bounded: a list that would exceed
// the bound waits for others to be taken. When there is one that waits, a connection
// that has taken nothing for Options.ClientStallTimeout is cut: its process may have
// been stopped, and grpc would hold its answers for hours.

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

	mu   sync.Mutex
	held map[*answer]struct{}
}

func newInFlight(c *core) *inFlight {
	limit := c.opts.RangeBytesInFlight
	return &inFlight{
		core: c, limit: limit, free: semaphore.NewWeighted(limit),
		bytes: c.metrics.RangeBytesInFlight, waits: c.metrics.RangeWaits, held: make(map[*answer]struct{}),
	}
}

// answer is one that may have to be counted.
type answer struct {
	*inFlight
	ctx  context.Context
	conn *clientConn
	held int64
	read time.Time // zero before it was read; inFlight.mu is its mutex
	once sync.Once
}

// answerTo returns the account of an answer to the client that ctx is of, nil if it is
// not one that is served over the network.
func (f *inFlight) answerTo(ctx context.Context) *answer {
	if p, ok := peer.FromContext(ctx); ok {
		if addr, ok := p.Addr.(clientAddr); ok {
			return &answer{inFlight: f, ctx: ctx, conn: addr.conn}
		}
	}
	if conn, ok := ctx.Value(connKey{}).(*clientConn); ok {
		return &answer{inFlight: f, ctx: ctx, conn: conn}
	}
	return nil
}

// connKey is that of an HTTP client's connection in its requests' contexts.
type connKey struct{}

// withConn is an http.Server's ConnContext.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if addr, ok := conn.RemoteAddr().(clientAddr); ok {
		return context.WithValue(ctx, connKey{}, addr.conn)
	}
	return ctx
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
		a.cutStalled()
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
	a.mu.Lock()
	a.inFlight.held[a] = struct{}{}
	a.mu.Unlock()
	a.conn.hold(a)
	return nil
}

// release gives the bytes back. It may be called more than once.
func (a *answer) release() {
	a.once.Do(func() {
		a.conn.forget(a)
		a.mu.Lock()
		delete(a.inFlight.held, a)
		a.mu.Unlock()
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
		a.mu.Lock()
		a.read = a.opts.Clock.Now()
		a.mu.Unlock()
		resp.Sent = a.release
	}
}

// cutStalled closes the connections that have answers and take none.
func (f *inFlight) cutStalled() {
	before := f.opts.Clock.Now().Add(-f.opts.ClientStallTimeout)
	var stalled []*clientConn
	f.mu.Lock()
	for a := range f.held {
		if !a.read.IsZero() && a.read.Before(before) && a.conn.lastTook().Before(before) {
			stalled = append(stalled, a.conn)
		}
	}
	f.mu.Unlock()
	for _, conn := range stalled {
		f.opts.Logger.Warn("closing the connection of a client that has stopped reading its answers while others wait",
			zap.Stringer("remote", conn.RemoteAddr()))
		_ = conn.Close() // by which its answers are released; nobody is left to hear of more
	}
}

// clientListener accepts connections that know what answers are on their way.
type clientListener struct {
	net.Listener
	clock clockwork.Clock
}

// Accept implements net.Listener.
func (l clientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: conn, clock: l.clock, born: l.clock.Now(), answers: make(map[*answer]struct{})}, nil
}

// clientConn is a client's connection, below the handshake. When it is closed nobody
// takes the answers any more that are on their way, and grpc does not tell of them.
type clientConn struct {
	net.Conn
	clock clockwork.Clock
	born  time.Time
	took  atomic.Int64 // when the client last took something, in nanoseconds since then

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

// Write implements net.Conn.
func (c *clientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.took.Store(int64(c.clock.Now().Sub(c.born)))
	}
	return n, err
}

// lastTook is when the client last took something.
func (c *clientConn) lastTook() time.Time { return c.born.Add(time.Duration(c.took.Load())) }

// CloseWrite ends what is sent, where the connection can be ended half; see portmux.
func (c *clientConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil // what follows is the whole end
	}
	return half.CloseWrite()
}

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
