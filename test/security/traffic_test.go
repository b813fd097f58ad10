// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
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
	"slices"
	"strings"
	"testing"
	"time"

	"keelson.io/keelson/test/harness"
)

// TestListenersBesideEachOther runs etcdctl at URLs of all schemes, against keelson and etcd, and compares what it prints.
func TestListenersBesideEachOther(t *testing.T) {
	w := newWorld(t)
	good, strange := w.clients["good"], w.clients["strange"]
	printed := map[harness.Kind][]string{}
	for _, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		sockets, err := os.MkdirTemp("", "sockets") // a socket's path must be short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(sockets) })
		plain := "http://" + harness.Address(harness.FreePort(t))
		both := harness.Address(harness.FreePort(t))
		unixs, unix := "unixs://"+filepath.Join(sockets, "s"), "unix://"+filepath.Join(sockets, "p")
		server := harness.New(t, kind, harness.Options{TLS: w.ca.Client(good)})
		secure := server.URL()
		server.WithArgs(w.mutual("--listen-client-urls=" + strings.Join([]string{secure, plain, unixs, unix, "http://" + both, "https://" + both}, ","))...).Restart()
		mutual := []string{"--cacert=" + w.ca.File(), "--cert=" + good.CertFile, "--key=" + good.KeyFile}
		// A socket has no name that a certificate could be for.
		anyHost := []string{"--insecure-skip-tls-verify", "--cert=" + good.CertFile, "--key=" + good.KeyFile}
		for _, step := range []struct {
			at     string
			how    []string
			args   string
			fails  bool
			silent bool // what it prints differs by chance
		}{
			{secure, mutual, "put key value", false, false},
			{secure, mutual, "get key", false, false},
			{plain, nil, "get key", false, false},
			{unix, nil, "get key", false, false},
			{unixs, anyHost, "get key", false, false},
			{"http://" + both, nil, "get key", false, false},
			{"https://" + both, mutual, "get key", false, false},
			{"https://" + both, []string{"--cacert=" + w.ca.File()}, "get key", true, true},
			{secure, mutual, "lease grant 60", false, true},
			{secure, mutual, "endpoint health", false, true},
			{secure, mutual, "member list -w fields", false, true},
			{secure, []string{"--cacert=" + w.ca.File()}, "get key", true, true},
			{secure, []string{"--cacert=" + w.stranger.File(), "--cert=" + good.CertFile, "--key=" + good.KeyFile}, "get key", true, true},
			{secure, []string{"--cacert=" + w.ca.File(), "--cert=" + strange.CertFile, "--key=" + strange.KeyFile}, "get key", true, true},
			{unixs, []string{"--insecure-skip-tls-verify"}, "get key", true, true},
			{strings.Replace(secure, "https", "http", 1), nil, "get key", true, true},
			{strings.Replace(plain, "http", "https", 1), mutual, "get key", true, true},
		} {
			output, code := etcdctl(t, append(append([]string{"--endpoints=" + step.at}, step.how...), strings.Fields(step.args)...))
			if (code != 0) != step.fails {
				t.Errorf("%v: etcdctl %s at %s %v ends with code %d:\n%s", kind, step.args, step.at, step.how, code, output)
			}
			if step.silent {
				output = ""
			}
			printed[kind] = append(printed[kind], fmt.Sprintf("%s: %d %s", step.args, code, output))
		}
	}
	if !slices.Equal(printed[harness.Etcd], printed[harness.Keelson]) {
		t.Errorf("etcd:\n%s\nkeelson:\n%s", strings.Join(printed[harness.Etcd], "\n"), strings.Join(printed[harness.Keelson], "\n"))
	}
}

func etcdctl(t *testing.T, args []string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Build(t, harness.Etcdctl), append([]string{"--command-timeout=3s", "--dial-timeout=3s"}, args...)...)
	cmd.Env = harness.CleanEnviron()
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return printed.String(), exit.ExitCode()
	}
	if err != nil {
		t.Errorf("etcdctl %v: %v", args, err)
	}
	return printed.String(), 0
}

// TestMetricsListenersAsEtcds reads metrics over https, with certificates that name hosts and that do not.
func TestMetricsListenersAsEtcds(t *testing.T) {
	w := newWorld(t)
	clients := map[string]*tls.Config{
		"none": w.ca.Client(), "good": w.ca.Client(w.clients["good"]), "strange": w.ca.Client(w.clients["strange"]),
		"of another host": w.ca.Client(w.clients["of-host"]), "of this host": w.ca.Client(w.server),
	}
	metrics := harness.Address(harness.FreePort(t))
	results := map[harness.Kind]map[string]result{}
	for _, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		server := harness.Start(t, kind, harness.Options{TLS: clients["good"], Args: w.mutual("--listen-metrics-urls=https://" + metrics)})
		results[kind] = map[string]result{}
		for name, config := range clients {
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			results[kind][name] = shake(ctx, t, server, metrics, config)
			cancel()
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: clients["good"].Clone(), ForceAttemptHTTP2: true}}
		if text := metricsText(t.Context(), t, client, "https://"+metrics); !strings.Contains(text, "etcd_server_has_leader 1") {
			t.Errorf("%v: the metrics do not tell of a leader", kind)
		}
		client.CloseIdleConnections()
		server.Stop()
	}
	for name := range clients {
		if got, want := results[harness.Keelson][name], results[harness.Etcd][name]; got != want {
			t.Errorf("%s: keelson %v, etcd %v", name, got, want)
		}
	}
}

// TestSilentClients opens more connections than are waited for, which do not finish their handshakes. Others are served,
// and all of them are closed.
func TestSilentClients(t *testing.T) {
	const many, some = 1100, 20 // more than portmux.MaxUndecided, and fewer
	w, f := newWorld(t), newMemberFiles(t)
	metrics := harness.Address(harness.FreePort(t))
	good := w.ca.Client(w.clients["good"])
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: good, PeerScheme: "https",
		Args: append(f.flags("--listen-metrics-urls=https://"+metrics), w.mutual()...)})
	running := startRunning(t, server)
	peers := strings.TrimPrefix(server.PeerURL(), "https://")
	var silent []net.Conn
	for address, n := range map[string]int{server.Endpoint(): many, metrics: some, peers: some} {
		for i := range n {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if i%2 == 0 { // half a hello
				if _, err := conn.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}); err != nil {
					t.Fatal(err)
				}
			}
			silent = append(silent, conn)
		}
	}
	opened := time.Now()
	wantServed(t, server, good, "server")
	running.wantAlive(t)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for address, config := range map[string]*tls.Config{metrics: good, peers: f.ca.Client(f.pair)} {
		if r := shake(ctx, t, server, address, config); r.answer != "answered" {
			t.Errorf("at %s: %v", address, r)
		}
	}
	if took := time.Since(opened); took > 9*time.Second {
		t.Errorf("clients that speak wait %v for others that do not", took)
	}
	for _, conn := range silent {
		_ = conn.SetReadDeadline(time.Now().Add(patient)) // an error is that of reading
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection that does not finish its handshake is kept")
		}
	}
}
