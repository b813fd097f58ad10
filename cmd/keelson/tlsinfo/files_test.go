// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"keelson.io/keelson/metrics"
	"keelson.io/keelson/test/harness"
)

func load(t *testing.T, info transport.TLSInfo, clock clockwork.Clock) (*Files, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	f, err := Load(Options{Info: info, Logger: zap.New(core), Metrics: metrics.NewTLS(prometheus.NewRegistry()), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return f, logs
}

// shake has a client shake hands with f, and returns both's errors.
func shake(t *testing.T, f *Files, client *tls.Config) (atServer, atClient error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() {
		secure, _, err := f.Handshake(ctx, here)
		if err == nil {
			_, err = secure.Write([]byte("x")) // so that the client sees whether it was taken
		}
		done <- err
		_ = here.Close()
	}()
	conn := tls.Client(there, client)
	atClient = conn.HandshakeContext(ctx)
	if atClient == nil {
		_, atClient = conn.Read(make([]byte, 1))
	}
	_ = there.Close()
	return <-done, atClient
}

// TestFilesChangeUnderHandshakes replaces files while many shake hands: each sees a certificate and a key that fit.
func TestFilesChangeUnderHandshakes(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	pair := ca.Issue(harness.Leaf{CN: "0", Hosts: []string{"server"}})
	f, _ := load(t, transport.TLSInfo{CertFile: pair.CertFile, KeyFile: pair.KeyFile}, clockwork.NewRealClock())
	client := ca.Client()
	client.ServerName = "server"
	stop := make(chan struct{})
	var replacing, shaking sync.WaitGroup
	replacing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			next := ca.Issue(harness.Leaf{CN: "next", Hosts: []string{"server"}})
			for from, to := range map[string]string{next.CertFile: pair.CertFile, next.KeyFile: pair.KeyFile} {
				content, err := os.ReadFile(from)
				if err == nil {
					err = os.WriteFile(to, content, 0o600) // in pieces, for who reads it
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 4 {
		shaking.Go(func() {
			for range 50 {
				if atServer, atClient := shake(t, f, client); atServer != nil || atClient != nil {
					t.Errorf("server: %v; client: %v", atServer, atClient)
				}
			}
		})
	}
	shaking.Wait()
	close(stop)
	replacing.Wait()
}

// TestWatch sees new files by the clock alone, and tells of new authorities only.
func TestWatch(t *testing.T) {
	ca, next := harness.NewAuthority(t, "ca"), harness.NewAuthority(t, "next")
	pair, other := ca.Issue(harness.Leaf{CN: "server"}), ca.Issue(harness.Leaf{CN: "other", Ends: time.Now().Add(-time.Second)})
	clock := clockwork.NewFakeClockAt(time.Now())
	f, logs := load(t, transport.TLSInfo{CertFile: pair.CertFile, KeyFile: pair.KeyFile, TrustedCAFile: ca.File()}, clock)
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(done)
		f.Watch(ctx, func() { told <- struct{}{} })
	}()
	tick := func() {
		if err := clock.BlockUntilContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(watchInterval)
	}
	for path, content := range map[string]string{pair.CertFile: other.CertFile, pair.KeyFile: other.KeyFile} {
		text, err := os.ReadFile(content)
		if err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, path, text)
	}
	tick()
	for deadline := time.After(20 * time.Second); logs.FilterMessage("using TLS file").Len() == 0; {
		select {
		case <-deadline:
			t.Fatal("that the new certificate has expired is not warned of")
		case <-time.After(time.Millisecond):
		}
	}
	harness.WriteFile(t, ca.File(), next.PEM())
	tick()
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("a new authority is not told of")
	}
	cancel()
	<-done
	if len(told) != 0 {
		t.Error("a new certificate is told of as an authority")
	}
}

// TestLoadNamesAllFaults wants one start to show everything that is wrong.
func TestLoadNamesAllFaults(t *testing.T) {
	_, err := Load(Options{Prefix: "peer-", Logger: zap.NewNop(), Metrics: metrics.NewTLS(nil), Clock: clockwork.NewRealClock(), Info: transport.TLSInfo{
		CertFile: "c", KeyFile: "k", ClientCertFile: "cc", ClientKeyFile: "ck", TrustedCAFile: "ca", CRLFile: "crl",
	}})
	for _, want := range []string{
		"--peer-cert-file,--peer-key-file=c,k: open c:", "--peer-client-cert-file,--peer-client-key-file=cc,ck: open cc:",
		"--peer-trusted-ca-file=ca: open ca:", "--peer-crl-file=crl: open crl:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not have %q", err, want)
		}
	}
}
