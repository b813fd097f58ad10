// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package portmux

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"keelson.io/keelson/test/harness"
)

// handshake is one by a certificate of ca.
func handshake(t *testing.T, ca *harness.Authority) Handshake {
	t.Helper()
	pair := ca.Issue(harness.Leaf{CN: "server", Hosts: []string{"127.0.0.1"}})
	certificate, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, conn net.Conn) (*tls.Conn, []string, error) {
		var offered []string
		secure := tls.Server(conn, &tls.Config{
			Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"},
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				offered = hello.SupportedProtos
				return nil, nil
			},
		})
		return secure, offered, secure.HandshakeContext(ctx)
	}
}

func TestSecureConnectionsAreToldApart(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	f := startWith(t, handshake(t, ca))
	for _, test := range []struct {
		offered []string
		to      net.Listener
	}{
		{[]string{"h2"}, f.GRPC()},
		{[]string{"grpc-exp", "h2"}, f.GRPC()},
		{[]string{"h2", "http/1.1"}, f.HTTP()},
		{[]string{"http/1.1", "h2"}, f.HTTP()},
		{[]string{"http/1.1"}, f.HTTP()},
		{nil, f.HTTP()},
	} {
		client := ca.Client()
		client.NextProtos = test.offered
		conn, err := tls.Dial("tcp", f.HTTP().Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := test.to.Accept()
		if err != nil {
			t.Fatal(err)
		}
		secure, ok := arrived.(*tls.Conn)
		if !ok {
			t.Fatalf("%v: a %T arrives", test.offered, arrived)
		}
		if want := slices.Contains(test.offered, "h2"); (secure.ConnectionState().NegotiatedProtocol == "h2") != want {
			t.Errorf("%v: %q is agreed on", test.offered, secure.ConnectionState().NegotiatedProtocol)
		}
		_, _ = arrived.Close(), conn.Close()
	}
}

// TestPlainBesideSecure has clients of both kinds connect to one address.
func TestPlainBesideSecure(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	f := startAs(t, func(l net.Listener, clock clockwork.Clock) *Mux {
		return NewEither(l, clock, time.Second, handshake(t, ca))
	})
	for first, l := range map[string]net.Listener{preface + "rest": f.GRPC(), "GET / HTTP/1.1\r\n": f.HTTP(), "\x00": f.HTTP()} {
		f.dial(first)
		if got := accepted(t, l, len(first)); got != first {
			t.Errorf("%q arrives as %q", first, got)
		}
	}
	for protocol, l := range map[string]net.Listener{"h2": f.GRPC(), "http/1.1": f.HTTP()} {
		client := ca.Client()
		client.NextProtos = []string{protocol}
		conn, err := tls.Dial("tcp", f.HTTP().Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := arrived.(*tls.Conn); !ok {
			t.Errorf("%s: a %T arrives", protocol, arrived)
		}
		_, _ = arrived.Close(), conn.Close()
	}
	silent := []net.Conn{f.dial(""), f.dial("\x16\x03"), f.dial("P")}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, conn := range silent {
			wantEnd(t, conn)
		}
	}()
	for { // there is a time for the first byte and one for what follows it
		f.clock.Advance(2 * time.Second)
		select {
		case <-ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestUnfinishedHandshakes are ended when their time is over, and do not keep out others before.
func TestUnfinishedHandshakes(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	f := startWith(t, handshake(t, ca))
	silent := []net.Conn{f.dial(""), f.dial("\x16\x03\x01\x02"), f.dial("GET / HTTP/1.1\r\n\r\n")}
	conn, err := tls.Dial("tcp", f.HTTP().Addr().String(), ca.Client())
	if err != nil {
		t.Fatal(err)
	}
	arrived, err := f.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = arrived.Close(), conn.Close() }()
	wantEnd(t, silent[2]) // no hello at all
	if err := f.clock.BlockUntilContext(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(2 * time.Second)
	wantEnd(t, silent[0])
	wantEnd(t, silent[1])
}

// wantEnd wants the other side to end a connection, whatever it says before.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is not ended")
	}
}

// TestListenerEndsWithHandshakes closes one in whose handshakes are clients.
func TestListenerEndsWithHandshakes(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	root, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(root, clockwork.NewRealClock(), time.Minute, handshake(t, ca))
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := ca.Client()
	client.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	arrived, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer arrived.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := silent.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, silent)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener accepts: %v", err)
	}
}
