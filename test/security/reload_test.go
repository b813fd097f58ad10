// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// served is who a server says it is to a new connection; an error if it does not serve it.
func served(t *testing.T, server *harness.Server, config *tls.Config) (cn string, err error) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", server.Endpoint())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	if answer := ask(t, conn, state.NegotiatedProtocol); answer != "answered" {
		return "", fmt.Errorf("it is %s", answer)
	}
	return state.PeerCertificates[0].Subject.CommonName, nil
}

// wantServed fails the test unless a new connection is served, by the certificate of a name.
func wantServed(t *testing.T, server *harness.Server, config *tls.Config, cn string) {
	t.Helper()
	if got, err := served(t, server, config); err != nil || got != cn {
		t.Errorf("a new connection is served by %q, %v; want %q", got, err, cn)
	}
}

// wantRefused fails the test if a new connection is served.
func wantRefused(t *testing.T, server *harness.Server, config *tls.Config) {
	t.Helper()
	if cn, err := served(t, server, config); err == nil {
		t.Errorf("a new connection is served by %q", cn)
	}
}

// copyPair puts a certificate and its key in the place of others.
func copyPair(t *testing.T, to, from harness.Pair) {
	t.Helper()
	for source, target := range map[string]string{from.CertFile: to.CertFile, from.KeyFile: to.KeyFile} {
		harness.WriteFile(t, target, read(t, source))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// running is a connection with a watch on it.
type running struct {
	client *clientv3.Client
	events clientv3.WatchChan
	writes int
}

func startRunning(t *testing.T, server *harness.Server) *running {
	t.Helper()
	r := &running{client: server.Client(t)}
	r.events = r.client.Watch(t.Context(), "running")
	r.wantAlive(t)
	return r
}

// wantAlive writes by the connection and gets the event by it.
func (r *running) wantAlive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	r.writes++
	value := strconv.Itoa(r.writes)
	if _, err := r.client.Put(ctx, "running", value); err != nil {
		t.Fatalf("a connection that was there before: %v", err)
	}
	select {
	case got := <-r.events:
		if got.Err() != nil || len(got.Events) != 1 || string(got.Events[0].Kv.Value) != value {
			t.Fatalf("a watch that was there before gets %v, %v", got.Events, got.Err())
		}
	case <-ctx.Done():
		t.Fatal("a watch that was there before gets nothing")
	}
}

// TestNewFilesCountAtOnce replaces each file under a running connection. The next connection is judged by the new one.
func TestNewFilesCountAtOnce(t *testing.T) {
	w := newWorld(t)
	good, strange := w.ca.Client(w.clients["good"]), w.ca.Client(w.clients["strange"])
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: good, Args: w.mutual("--client-crl-file=" + w.revoked)})
	running := startRunning(t, server)
	first, second := w.server, w.ca.Issue(harness.Leaf{CN: "second", Hosts: []string{"127.0.0.1"}})
	oldCert, oldKey := read(t, first.CertFile), read(t, first.KeyFile)

	copyPair(t, first, second)
	wantServed(t, server, good, "second")
	running.wantAlive(t)

	for name, spoil := range map[string]func(){
		"half a certificate":   func() { harness.WriteFile(t, first.CertFile, oldCert[:len(oldCert)/2]) },
		"another's key":        func() { harness.WriteFile(t, first.KeyFile, oldKey) },
		"no key":               func() { remove(t, first.KeyFile) },
		"an empty bundle":      func() { harness.WriteFile(t, w.ca.File(), nil) },
		"half a bundle":        func() { harness.WriteFile(t, w.ca.File(), append(w.ca.PEM(), w.stranger.PEM()[:100]...)) },
		"no bundle":            func() { remove(t, w.ca.File()) },
		"noise for a list":     func() { harness.WriteFile(t, w.revoked, []byte("noise")) },
		"no list of revoked":   func() { remove(t, w.revoked) },
		"a folder as the list": func() { remove(t, w.revoked); mkdir(t, w.revoked) },
	} {
		before := strings.Count(server.Log(), unusable)
		spoil()
		for range 3 {
			wantServed(t, server, good, "second")
			wantRefused(t, server, strange)
			wantRefused(t, server, w.ca.Client(w.clients["revoked"]))
		}
		if told := strings.Count(server.Log(), unusable) - before; told != 1 {
			t.Errorf("%s: the log tells %d times of it", name, told)
		}
		copyPair(t, first, second)
		harness.WriteFile(t, w.ca.File(), w.ca.PEM())
		_ = os.Remove(w.revoked) // it may be a folder, a list or nothing
		harness.WriteFile(t, w.revoked, w.ca.Revoke(w.clients["revoked"]))
		wantServed(t, server, good, "second")
	}

	harness.WriteFile(t, w.ca.File(), append(w.ca.PEM(), w.stranger.PEM()...))
	wantServed(t, server, strange, "second")
	wantServed(t, server, good, "second")
	harness.WriteFile(t, w.ca.File(), w.stranger.PEM())
	wantServed(t, server, strange, "second")
	wantRefused(t, server, good)
	running.wantAlive(t)

	harness.WriteFile(t, w.ca.File(), w.ca.PEM())
	wantServed(t, server, good, "second")
	harness.WriteFile(t, w.revoked, w.ca.Revoke(w.clients["revoked"], w.clients["good"]))
	wantRefused(t, server, good)
	running.wantAlive(t)
}

// unusable is what the log says of a new file that can't be used.
const unusable = "cannot use a new TLS file"

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestSessionsAreNotResumed: each connection is judged anew, that of a client that keeps sessions, too.
func TestSessionsAreNotResumed(t *testing.T) {
	w := newWorld(t)
	good := w.ca.Client(w.clients["good"])
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: good, Args: w.mutual()})
	good = good.Clone()
	good.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		good.MaxVersion = version
		for range 3 {
			conn, err := tls.Dial("tcp", server.Endpoint(), good)
			if err != nil {
				t.Fatal(err)
			}
			if answer := ask(t, conn, ""); answer != "answered" {
				t.Errorf("a client that keeps sessions is %s", answer)
			}
			if conn.ConnectionState().DidResume {
				t.Errorf("a session of %s is resumed", tls.VersionName(version))
			}
			conn.Close()
		}
	}
}

// TestExpiryIsExported compares the metric with the certificates, and sees it change with them though nobody connects.
func TestExpiryIsExported(t *testing.T) {
	w := newWorld(t)
	port := harness.FreePort(t)
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: w.ca.Client(w.clients["good"]), Args: w.mutual(
		"--listen-metrics-urls=http://" + harness.Address(port))})
	soon := time.Now().Add(30 * time.Minute)
	copyPair(t, w.server, w.ca.Issue(harness.Leaf{CN: "soon", Hosts: []string{"127.0.0.1"}, Ends: soon}))
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	want := []string{
		line("cert-file", w.server.CertFile, soon),
		line("trusted-ca-file", w.ca.File(), w.ca.Ends()),
	}
	for {
		text := metricsText(ctx, t, http.DefaultClient, "http://"+harness.Address(port))
		if strings.Contains(text, want[0]) && strings.Contains(text, want[1]) {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the metrics of %s have no %q in\n%s", server.Name(), want, regexp.MustCompile(`(?m)^keelson_tls.*$`).FindAllString(text, -1))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func line(use, file string, end time.Time) string {
	seconds := strconv.FormatFloat(float64(end.Unix()), 'g', -1, 64)
	return fmt.Sprintf("keelson_tls_certificate_expiry_timestamp_seconds{file=%q,use=%q} %s\n", file, use, seconds)
}

func metricsText(ctx context.Context, t *testing.T, client *http.Client, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPEMRevocations: openssl writes lists in PEM, which etcd reads no more.
func TestPEMRevocations(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "list.pem")
	harness.WriteFile(t, path, bytes.Join([][]byte{w.stranger.RevokePEM(), w.ca.RevokePEM(w.clients["revoked"])}, nil))
	good := w.ca.Client(w.clients["good"])
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: good, Args: w.mutual("--client-crl-file=" + path)})
	wantRefused(t, server, w.ca.Client(w.clients["revoked"]))
	wantServed(t, server, good, "server")
}
