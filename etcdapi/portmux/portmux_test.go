// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package portmux

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	*Mux
	t      *testing.T
	clock  *clockwork.FakeClock
	served chan error
}

func start(t *testing.T) *fixture {
	t.Helper()
	return startWith(t, nil)
}

func startWith(t *testing.T, handshake Handshake) *fixture {
	t.Helper()
	return startAs(t, func(l net.Listener, clock clockwork.Clock) *Mux { return NewSecure(l, clock, time.Second, handshake) })
}

func startAs(t *testing.T, mux func(net.Listener, clockwork.Clock) *Mux) *fixture {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, clock: clockwork.NewFakeClock(), served: make(chan error, 1)}
	f.Mux = mux(l, f.clock)
	go func() { f.served <- f.Serve() }()
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := <-f.served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return f
}

func (f *fixture) dial(first string) net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.HTTP().Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := conn.Write([]byte(first)); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// accepted returns what the next connection of l begins with.
func accepted(t *testing.T, l net.Listener, length int) string {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, length)
	if _, err := io.ReadFull(conn, buf); err != nil {
		t.Fatal(err)
	}
	return string(buf)
}

func TestConnectionsAreToldApart(t *testing.T) {
	f := start(t)
	for first, l := range map[string]net.Listener{
		preface + "rest":           f.GRPC(),
		"GET / HTTP/1.1\r\n":       f.HTTP(),
		"POST /v3/kv HTTP/1.1\r\n": f.HTTP(),
		"PRI * HTTP/1.1\r\n":       f.HTTP(),
		"\x16\x03\x01":             f.HTTP(),
		"\x00":                     f.HTTP(),
	} {
		f.dial(first)
		if got := accepted(t, l, len(first)); got != first {
			t.Errorf("%q arrives as %q", first, got)
		}
	}
}

func TestPrefaceInPieces(t *testing.T) {
	f := start(t)
	conn := f.dial(preface[:1])
	for _, b := range []byte(preface[1:] + "x") {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := accepted(t, f.GRPC(), len(preface)+1); got != preface+"x" {
		t.Fatalf("arrives as %q", got)
	}
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	f := start(t)
	conns := []net.Conn{f.dial(""), f.dial(preface[:10])}
	f.awaitUndecided(len(conns))
	f.clock.Advance(2 * time.Second)
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("read: %v", err)
		}
	}
}

// awaitUndecided returns when n connections are being looked at, each with its
// timer.
func (f *fixture) awaitUndecided(n int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f.clock.BlockUntilContext(ctx, n); err != nil {
		f.t.Fatal(err)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func TestCloseEndsUndecidedConnections(t *testing.T) {
	f := start(t)
	conn := f.dial("PRI")
	f.awaitUndecided(1)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("read: %v", err)
	}
	for _, l := range []net.Listener{f.GRPC(), f.HTTP()} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
	}
}

func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	f := start(t)
	for range MaxUndecided {
		f.dial("")
	}
	f.awaitUndecided(MaxUndecided)
	const first = "GET / HTTP/1.1\r\n"
	f.dial(first) // no time goes by on the fake clock
	if got := accepted(t, f.HTTP(), len(first)); got != first {
		t.Fatalf("%q arrives as %q", first, got)
	}
}

func TestConnectionsCanBeEndedHalf(t *testing.T) {
	f := start(t)
	client := f.dial("GET / HTTP/1.1\r\n")
	conn, err := f.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("net/http can't end the connection half")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("read of what has ended: %v", err)
	}
	const rest = "Host: x\r\n"
	if _, err := client.Write([]byte(rest)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len("GET / HTTP/1.1\r\n"+rest))
	if _, err := io.ReadFull(conn, buf); err != nil {
		t.Fatalf("the other half: %v", err)
	}
}
