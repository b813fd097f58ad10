// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

const patient = 20 * time.Second

// world are the certificates of a test of listeners.
type world struct {
	ca, stranger *harness.Authority
	server       harness.Pair
	clients      map[string]harness.Pair
	revoked      string // file
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{ca: harness.NewAuthority(t, "ca"), stranger: harness.NewAuthority(t, "stranger")}
	w.server = w.ca.Issue(harness.Leaf{CN: "server", Hosts: []string{"127.0.0.1", "localhost"}})
	w.clients = map[string]harness.Pair{
		"good":     w.ca.Issue(harness.Leaf{CN: "good"}),
		"expired":  w.ca.Issue(harness.Leaf{CN: "expired", Ends: time.Now().Add(-time.Minute)}),
		"revoked":  w.ca.Issue(harness.Leaf{CN: "revoked"}),
		"strange":  w.stranger.Issue(harness.Leaf{CN: "good"}),
		"of-host":  w.ca.Issue(harness.Leaf{CN: "of-host", Hosts: []string{"allowed.example"}}),
		"of-other": w.ca.Issue(harness.Leaf{CN: "of-other", Hosts: []string{"other.example"}}),
	}
	w.revoked = filepath.Join(t.TempDir(), "revoked.crl")
	harness.WriteFile(t, w.revoked, w.ca.Revoke(w.clients["revoked"]))
	return w
}

// serve are the flags for clients, with others.
func (w *world) serve(flags ...string) []string {
	return append([]string{"--cert-file=" + w.server.CertFile, "--key-file=" + w.server.KeyFile}, flags...)
}

// mutual are the flags for clients that must show a certificate, with others.
func (w *world) mutual(flags ...string) []string {
	return w.serve(append([]string{"--trusted-ca-file=" + w.ca.File(), "--client-cert-auth"}, flags...)...)
}

// variants are clients' configurations, by name: each certificate, and ways to shake hands.
func (w *world) variants() map[string]*tls.Config {
	all := map[string]*tls.Config{"none": w.ca.Client()}
	for name, pair := range w.clients {
		all[name] = w.ca.Client(pair)
	}
	for name, change := range map[string]func(*tls.Config){
		"TLS 1.1":         func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"TLS 1.2":         func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"TLS 1.3":         func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 },
		"one suite":       func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, suite(otherSuite) },
		"listed suite":    func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, suite(listedSuite) },
		"HTTP/2 alone":    func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"HTTP/1 alone":    func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} },
		"HTTP/1 or 2":     func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} },
		"other protocols": func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} },
		"wrong host":      func(c *tls.Config) { c.ServerName = "wrong.example" },
		"wrong authority": func(c *tls.Config) { c.RootCAs = w.stranger.Pool() },
	} {
		c := w.ca.Client(w.clients["good"])
		change(c)
		all[name] = c
	}
	none12 := w.ca.Client()
	none12.MaxVersion = tls.VersionTLS12
	all["none, TLS 1.2"] = none12
	return all
}

// Suites of TLS 1.2 for certificates like the test's.
const (
	listedSuite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 // without which etcd does not start
	otherSuite  = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
)

func suite(id uint16) []uint16 { return []uint16{id} }

// TestListenersAsEtcds has all kinds of clients connect to keelson and to etcd with the same flags. What they agree on, who
// is refused, and what the log says of it are the same.
func TestListenersAsEtcds(t *testing.T) {
	w := newWorld(t)
	for name, flags := range map[string][]string{
		"server's certificate": w.serve(),
		"mutual":               w.mutual(),
		"authority alone":      w.serve("--trusted-ca-file=" + w.ca.File()),
		"revocations":          w.mutual("--client-crl-file=" + w.revoked),
		"allowed host":         w.mutual("--client-cert-allowed-hostname=some.example,allowed.example"),
		"from TLS 1.3":         w.mutual("--tls-min-version=TLS1.3"),
		"up to TLS 1.2":        w.mutual("--tls-max-version=TLS1.2"),
		"cipher suites":        w.mutual("--cipher-suites=" + tls.CipherSuiteName(listedSuite)),
	} {
		t.Run(name, func(t *testing.T) {
			client := "good"
			if name == "allowed host" {
				client = "of-host"
			}
			opts := harness.Options{TLS: w.ca.Client(w.clients[client]), Args: flags}
			etcd, keelson := harness.Start(t, harness.Etcd, opts), harness.Start(t, harness.Keelson, opts)
			variants := w.variants()
			for _, variant := range slices.Sorted(maps.Keys(variants)) {
				want, got := probe(t, etcd, variants[variant]), probe(t, keelson, variants[variant])
				if got != want {
					t.Errorf("%s: keelson %v, etcd %v", variant, got, want)
				}
				t.Logf("%s: %v", variant, got)
			}
		})
	}
}

// result is what a client finds.
type result struct {
	handshake string // what was agreed on
	answer    string
	grpc      codes.Code
	web       string // to a client of HTTP/2 or 1
	logged    string // why it was refused
}

func probe(t *testing.T, server *harness.Server, config *tls.Config) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	r := shake(ctx, t, server, server.Endpoint(), config)
	r.grpc, r.web = statusOf(ctx, t, server, config), get(ctx, t, server, config)
	return r
}

// shake connects to an address of a server and asks there.
func shake(ctx context.Context, t *testing.T, server *harness.Server, address string, config *tls.Config) (r result) {
	t.Helper()
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = "127.0.0.1"
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		r.handshake = lasting(err.Error())
	} else {
		state := conn.ConnectionState()
		r.handshake = fmt.Sprintf("%s %s %q", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.NegotiatedProtocol)
		r.answer = ask(t, conn, state.NegotiatedProtocol)
	}
	if r.answer != "answered" {
		r.logged = awaitRejection(ctx, server, plain.LocalAddr())
	}
	if strings.Contains(r.logged, "revoked") {
		// Told in the handshake here, and after it by etcd.
		r.handshake, r.answer = "", ""
	}
	return r
}

// ask says something in the protocol that was agreed on.
func ask(t *testing.T, conn net.Conn, protocol string) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	request := "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
	if protocol == "h2" {
		request = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and empty settings
	}
	_, err := io.WriteString(conn, request)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 9))
	}
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer"
	}
	return "refused"
}

// statusOf asks by gRPC.
func statusOf(ctx context.Context, t *testing.T, server *harness.Server, config *tls.Config) codes.Code {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+server.Endpoint(), grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return status.Code(err)
}

// get asks as browsers do, who speak HTTP/2 if they can.
func get(ctx context.Context, t *testing.T, server *harness.Server, config *tls.Config) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL()+"/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "refused"
	}
	resp.Body.Close()
	return fmt.Sprint(resp.Proto, " ", resp.StatusCode)
}

// passing is what differs from one run to another.
var passing = regexp.MustCompile(`:\d+\b|current time \S+`)

func lasting(text string) string { return passing.ReplaceAllString(text, "") }

// awaitRejection returns why a server refused a client, as its log has it.
func awaitRejection(ctx context.Context, server *harness.Server, client net.Addr) string {
	line := regexp.MustCompile(`"rejected connection on (?:client|peer) endpoint","remote-addr":"` + client.String() + `".*"error":"([^\n]*)"}`)
	for {
		if found := line.FindStringSubmatch(server.Log()); found != nil {
			return lasting(found[1])
		}
		select {
		case <-ctx.Done():
			return "nothing is logged"
		case <-time.After(10 * time.Millisecond):
		}
	}
}
