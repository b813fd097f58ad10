// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package portmux

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// MaxUndecided is the most connections whose first bytes are waited for. Beyond
// it the one that has been silent for longest is closed: who opens connections
// and says nothing must not keep out those that do speak.
const MaxUndecided = 1024

// preface is how every HTTP/2 connection begins. Its first bytes are no HTTP/1
// method that anybody uses.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// acceptRetryInterval is the wait after an Accept that failed for lack of file
// descriptors, most likely.
const acceptRetryInterval = 50 * time.Millisecond

// Handshake makes a secure connection of an accepted one; the protocols are those
// that the client offered. When it fails the connection is closed by its caller.
type Handshake func(ctx context.Context, conn net.Conn) (secure *tls.Conn, offered []string, err error)

// Mux splits the connections of a listener.
type Mux struct {
	root      net.Listener
	clock     clockwork.Clock
	timeout   time.Duration
	handshake Handshake // nil: connections are plain
	either    bool      // some are, although there is one
	grpc      *branch
	http      *branch

	slots     chan struct{}
	undecided sync.WaitGroup

	mu     sync.Mutex
	silent *list.List // of net.Conn: undecided ones, the oldest first
	closed bool
}

// New returns a mux over root. A connection may take timeout, on the given
// clock, to send what tells the protocols apart.
func New(root net.Listener, clock clockwork.Clock, timeout time.Duration) *Mux {
	return &Mux{
		root:    root,
		clock:   clock,
		timeout: timeout,
		grpc:    newBranch(root.Addr()),
		http:    newBranch(root.Addr()),
		slots:   make(chan struct{}, MaxUndecided),
		silent:  list.New(),
	}
}

// NewSecure is New for connections that begin with a handshake, for which they may
// take timeout. Both listeners give connections of type *tls.Conn.
func NewSecure(root net.Listener, clock clockwork.Clock, timeout time.Duration, handshake Handshake) *Mux {
	m := New(root, clock, timeout)
	m.handshake = handshake
	return m
}

// NewEither is NewSecure for a root on which there are plain connections, too. What
// begins a handshake begins no protocol.
func NewEither(root net.Listener, clock clockwork.Clock, timeout time.Duration, handshake Handshake) *Mux {
	m := NewSecure(root, clock, timeout, handshake)
	m.either = true
	return m
}

// Listen returns a listener of secure connections that are not split by protocol.
func Listen(root net.Listener, clock clockwork.Clock, timeout time.Duration, handshake Handshake) net.Listener {
	m := NewSecure(root, clock, timeout, handshake)
	m.grpc = m.http
	l := &secureListener{branch: m.http, mux: m, served: make(chan struct{})}
	go func() {
		defer close(l.served)
		l.err = m.Serve()
	}()
	return l
}

// secureListener is a mux with one branch.
type secureListener struct {
	*branch
	mux    *Mux
	served chan struct{}
	err    error // of serving, when it has ended
}

// Accept implements net.Listener.
func (l *secureListener) Accept() (net.Conn, error) {
	conn, err := l.branch.Accept()
	if err != nil {
		<-l.served
		return nil, l.err
	}
	return conn, nil
}

// Close implements net.Listener.
func (l *secureListener) Close() error {
	err := l.mux.Close()
	<-l.served
	return err
}

// GRPC returns the listener of HTTP/2 connections.
func (m *Mux) GRPC() net.Listener { return m.grpc }

// HTTP returns the listener of all others.
func (m *Mux) HTTP() net.Listener { return m.http }

// Serve accepts connections until Close, then returns net.ErrClosed, or until
// root fails for good.
func (m *Mux) Serve() error {
	for {
		conn, err := m.root.Accept()
		if temporary(err) && m.pause() {
			continue
		}
		if err != nil {
			err = errors.Join(err, m.Close())
			m.undecided.Wait()
			return err
		}
		select {
		case m.slots <- struct{}{}:
		default:
			m.evict()
			m.slots <- struct{}{}
		}
		place := m.track(conn)
		if place == nil {
			<-m.slots
			continue
		}
		go m.decide(conn, place)
	}
}

// temporary tells errors of Accept after which it may work again.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits a moment; false when the mux is closed meanwhile.
func (m *Mux) pause() bool {
	t := m.clock.NewTimer(acceptRetryInterval)
	defer t.Stop()
	select {
	case <-t.Chan():
		return true
	case <-m.grpc.done:
		return false
	}
}

// track notes a connection so that Close can end it; nil: too late.
func (m *Mux) track(conn net.Conn) *list.Element {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = conn.Close() // nobody is to hear of it
		return nil
	}
	m.undecided.Add(1)
	return m.silent.PushBack(conn)
}

// evict closes the connection that has been silent for longest, whose slot is
// free a moment later.
func (m *Mux) evict() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if oldest := m.silent.Front(); oldest != nil {
		_ = m.silent.Remove(oldest).(net.Conn).Close() // makes its reader return
	}
}

// decide reads the first bytes of a connection and hands it on.
func (m *Mux) decide(conn net.Conn, place *list.Element) {
	defer m.undecided.Done()
	defer func() { <-m.slots }()
	decideBy := m.look
	switch {
	case m.either:
		decideBy = m.lookOrSecure
	case m.handshake != nil:
		decideBy = m.secure
	}
	to, ready := decideBy(conn)
	m.mu.Lock()
	m.silent.Remove(place) // nothing, if it was evicted
	m.mu.Unlock()
	if to == nil || !to.give(ready) {
		_ = conn.Close() // its peer is gone, never said anything, or is refused
	}
}

// lookOrSecure tells by the first byte whether a connection begins with a handshake.
func (m *Mux) lookOrSecure(conn net.Conn) (to *branch, ready net.Conn) {
	timer := m.clock.AfterFunc(m.timeout, func() { _ = conn.Close() }) // makes Read return
	first := make([]byte, 1)
	n, _ := conn.Read(first) // of an error that comes with a byte the next read tells
	if !timer.Stop() || n == 0 {
		return nil, nil
	}
	started := &startedConn{Conn: conn, head: first}
	if first[0] == handshakeRecord {
		return m.secure(started)
	}
	return m.look(started)
}

// handshakeRecord is the first byte of every TLS connection.
const handshakeRecord = 0x16

// secure shakes hands; nil: that failed or the time is over. Who offers nothing but
// HTTP/2 speaks gRPC: other clients can do without it. An HTTP server is for the
// others; it must be one that knows HTTP/2, for they may all have agreed on it.
func (m *Mux) secure(conn net.Conn) (to *branch, ready net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := m.clock.AfterFunc(m.timeout, cancel)
	secure, offered, err := m.handshake(ctx, conn)
	if !timer.Stop() || err != nil {
		return nil, nil
	}
	if secure.ConnectionState().NegotiatedProtocol == http2 && !slices.Contains(offered, http1) {
		return m.grpc, secure
	}
	return m.http, secure
}

// Names of protocols in a handshake.
const (
	http1 = "http/1.1"
	http2 = "h2"
)

// look reads until the bytes can't be HTTP/2's preface any more, or are it; nil: the
// connection ended or the time is over.
func (m *Mux) look(conn net.Conn) (to *branch, ready net.Conn) {
	timer := m.clock.AfterFunc(m.timeout, func() { _ = conn.Close() }) // makes Read return
	buf := make([]byte, len(preface))
	n := 0
	for n < len(preface) && string(buf[:n]) == preface[:n] {
		read, err := conn.Read(buf[n:])
		n += read
		if err != nil {
			break
		}
	}
	if !timer.Stop() || n == 0 {
		return nil, nil
	}
	started := &startedConn{Conn: conn, head: buf[:n]}
	if string(buf[:n]) == preface {
		return m.grpc, started
	}
	return m.http, started
}

// Close closes root, both listeners and all connections that are not handed on.
// It does not wait for Serve.
func (m *Mux) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	err := m.root.Close()
	for e := m.silent.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close() // makes its reader return
	}
	m.grpc.shut()
	m.http.shut()
	return err
}

// startedConn is a connection of which head has been read already.
type startedConn struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *startedConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is sent, where the connection can be ended half. net/http
// asks for it before it cuts off a client that still sends: without it the answer
// that says why would be lost.
func (c *startedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil // what follows is the whole end
	}
	return half.CloseWrite()
}

// branch is one of the two listeners.
type branch struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give hands a connection to whoever accepts; false when nobody will.
func (b *branch) give(conn net.Conn) bool {
	select {
	case b.conns <- conn:
		return true
	case <-b.done:
		return false
	}
}

func (b *branch) shut() { b.once.Do(func() { close(b.done) }) }

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: only this branch takes no more connections.
func (b *branch) Close() error {
	b.shut()
	return nil
}

// Addr implements net.Listener.
func (b *branch) Addr() net.Addr { return b.addr }
