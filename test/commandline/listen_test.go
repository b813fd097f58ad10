// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// startRaw runs a server with only the flags given, until it says that it is
// ready, and stops it when the test ends.
func startRaw(t *testing.T, kind harness.Kind, args ...string) {
	t.Helper()
	launch(t, kind, append(args, fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", harness.FreePort(t)))...).awaitReady(t)
}

// raw is a server with only the flags given.
type raw struct {
	kind    harness.Kind
	dataDir string
	process *os.Process
	printed *lockedBuffer
	exited  chan struct{}
}

// launch runs a server and stops it when the test ends.
func launch(t *testing.T, kind harness.Kind, args ...string) *raw {
	t.Helper()
	return launchWith(t, kind, nil, args...)
}

func launchWith(t *testing.T, kind harness.Kind, env []string, args ...string) *raw {
	t.Helper()
	b := harness.EtcdServer
	if kind == harness.Keelson {
		b = harness.KeelsonServer
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	command := exec.Command(harness.Build(t, b), append([]string{"--data-dir=" + data}, args...)...)
	command.Env, command.Dir = append(harness.CleanEnviron(), env...), dir
	var printed lockedBuffer
	command.Stdout, command.Stderr = &printed, &printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait() // tests that mind look at its state
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // has ended, if this fails
		select {
		case <-exited:
		case <-time.After(time.Minute):
			t.Errorf("%s does not end", kind)
			_ = command.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", kind, printed.String())
		}
	})
	return &raw{kind, data, command.Process, &printed, exited}
}

func (r *raw) awaitReady(t *testing.T) {
	t.Helper()
	r.awaitLine(t, r.printed.String)
}

// awaitLine waits until what is logged says that the server is ready.
func (r *raw) awaitLine(t *testing.T, logged func() string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(logged(), readyLine) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.exited:
			t.Fatalf("%s has ended:\n%s", r.kind, r.printed.String())
		case <-deadline:
			t.Fatalf("%s is not ready", r.kind)
		}
	}
}

// httpStatus asks over a connection that dial makes; 0 when that gives no answer.
func httpStatus(t *testing.T, network, address, path string) int {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	resp, err := client.Get("http://localhost" + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

// answersGRPC says whether a put works.
func answersGRPC(t *testing.T, endpoint string) bool {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = cli.Put(ctx, "key", "value")
	return err == nil
}

// TestListenHTTPApart wants gRPC only where HTTP is not, as with etcd.
func TestListenHTTPApart(t *testing.T) {
	for _, kind := range bothKinds {
		grpc, web, metrics := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
		at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
		startRaw(t, kind, "--listen-client-urls=http://"+at(grpc), "--advertise-client-urls=http://"+at(grpc),
			"--listen-client-http-urls=http://"+at(web), "--listen-metrics-urls=http://"+at(metrics))
		for _, test := range []struct {
			what      string
			got, want any
		}{
			{"gRPC on the gRPC port", answersGRPC(t, at(grpc)), true},
			{"gRPC on the HTTP port", answersGRPC(t, at(web)), false},
			{"gRPC on the metrics port", answersGRPC(t, at(metrics)), false},
			{"HTTP on the gRPC port", httpStatus(t, "tcp", at(grpc), "/version"), 0},
			{"HTTP on the HTTP port", httpStatus(t, "tcp", at(web), "/version"), 200},
			{"health on the HTTP port", httpStatus(t, "tcp", at(web), "/health"), 200},
			{"metrics on the HTTP port", httpStatus(t, "tcp", at(web), "/metrics"), 200},
			{"health on the metrics port", httpStatus(t, "tcp", at(metrics), "/health"), 200},
			{"metrics on the metrics port", httpStatus(t, "tcp", at(metrics), "/metrics"), 200},
			{"the version on the metrics port", httpStatus(t, "tcp", at(metrics), "/version"), 404},
		} {
			if test.got != test.want {
				t.Errorf("%s: %s: %v, want %v", kind, test.what, test.got, test.want)
			}
		}
	}
}

// TestListenSockets serves clients and metrics on files, one of which a killed
// server has left.
func TestListenSockets(t *testing.T) {
	for _, kind := range bothKinds {
		dir := t.TempDir()
		client, web := filepath.Join(dir, "client.sock"), filepath.Join(dir, "http.sock")
		left, err := net.ListenUnix("unix", &net.UnixAddr{Name: client, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		left.SetUnlinkOnClose(false)
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
		startRaw(t, kind, "--listen-client-urls=unix://"+client, "--advertise-client-urls=unix://"+client, "--listen-client-http-urls=unix://"+web)
		if !answersGRPC(t, "unix://"+client) {
			t.Errorf("%s does not answer on its socket", kind)
		}
		if got := httpStatus(t, "unix", web, "/health"); got != 200 {
			t.Errorf("%s: health over a socket: %d", kind, got)
		}
	}
}

// TestListenRefuses wants one line for each place that can't be listened on, and
// nothing written.
func TestListenRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse := taken.Addr().String()
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "file"), filepath.Join(dir, "socket")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	alive, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	free := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	for _, test := range []struct{ args, want string }{
		{"--listen-client-urls=http://" + inUse, "listen on http://" + inUse + ": listen tcp " + inUse + ": bind: address already in use"},
		{"--listen-client-http-urls=http://" + inUse, "address already in use"},
		{"--listen-metrics-urls=http://" + inUse, "address already in use"},
		{"--listen-client-urls=unix://" + file, "the file is there and is no socket"},
		{"--listen-client-urls=unix://" + socket, "listen on unix://" + socket + ": address already in use"},
		{"--listen-client-urls=http://" + free + " --listen-client-http-urls=http://" + free,
			"cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://" + free},
		{"--listen-client-http-urls=http://name:1", "--listen-client-http-urls: expected IP in URL for binding (http://name:1)"},
		{"--initial-advertise-peer-urls=http://:1", `--initial-advertise-peer-urls "http://:1" must be "host:port" (unexpected empty host (http://:1))`},
	} {
		data := filepath.Join(t.TempDir(), "data")
		args := append([]string{"--data-dir=" + data, "--log-level=error", "--advertise-client-urls=http://" + free,
			fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", harness.FreePort(t))}, strings.Fields(test.args)...)
		if !strings.Contains(test.args, "--listen-client-urls") {
			args = append(args, fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", harness.FreePort(t)))
		}
		command := exec.Command(harness.Build(t, harness.KeelsonServer), args...)
		command.Env = harness.CleanEnviron()
		out, err := command.CombinedOutput()
		if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: %v\n%s\nwant one line with %q", test.args, err, out, test.want)
		}
		absent(t, data)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file that is no socket holds %q now: %v", text, err)
	}
}

// TestSocketReusePort has two servers listen for clients on one port, which only
// works when both ask for it.
func TestSocketReusePort(t *testing.T) {
	at := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	args := []string{"--listen-client-urls=http://" + at, "--advertise-client-urls=http://" + at, "--socket-reuse-port", "--socket-reuse-address"}
	startRaw(t, harness.Keelson, args...)
	startRaw(t, harness.Etcd, args...)
	if !answersGRPC(t, at) {
		t.Error("neither of them answers")
	}
}

// absent wants nothing to be at a path.
func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", path, err)
	}
}

// TestListenHTTPApartTLS is TestListenHTTPApart for secure listeners.
func TestListenHTTPApartTLS(t *testing.T) {
	trusting := &tls.Config{InsecureSkipVerify: true}
	put := func(endpoint string) bool {
		cli, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + endpoint}, TLS: trusting})
		if err != nil {
			t.Fatal(err)
		}
		defer cli.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = cli.Put(ctx, "key", "value")
		return err == nil
	}
	get := func(endpoint string) int {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: trusting.Clone(), DisableKeepAlives: true}}
		resp, err := client.Get("https://" + endpoint + "/version")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, kind := range bothKinds {
		grpc, web := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		startRaw(t, kind, "--auto-tls", "--listen-client-urls=https://"+grpc, "--advertise-client-urls=https://"+grpc, "--listen-client-http-urls=https://"+web)
		if !put(grpc) || put(web) {
			t.Errorf("%s: gRPC must be answered where it is served, and nowhere else", kind)
		}
		if here, there := get(web), get(grpc); here != http.StatusOK || there == http.StatusOK {
			t.Errorf("%s: HTTP is answered with %d where it is served and with %d where it is not", kind, here, there)
		}
	}
}
