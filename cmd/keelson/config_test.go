// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Setenv("ETCD_SNAPSHOT_COUNT", "7")
	c, err := parse([]string{
		"-name", "n1", "--data-dir=/d", "--listen-client-urls", "http://127.0.0.1:1,unix://sock",
		"--advertise-client-urls=http://127.0.0.1:1", "--grpc-keepalive-timeout=3s", "--backend-batch-limit", "5", "--memory-mlock",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.name != "n1" || c.dataDir != "/d" || c.snapshotCount != 7 || c.keepAliveTimeout != 3*time.Second {
		t.Errorf("parsed %+v", c)
	}
	if len(c.listenClientURLs) != 2 || c.initialCluster != "n1=http://localhost:2380" {
		t.Errorf("URLs %v, cluster %q", c.listenClientURLs, c.initialCluster)
	}
	if got := strings.Join(c.ignored, " "); got != "backend-batch-limit memory-mlock" {
		t.Errorf("ignored flags %q", got)
	}
	if c, err := parse(nil, nil); err != nil || c.dataDir != "default.keelson" {
		t.Errorf("without flags: %+v, %v", c, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--cert-file=x", "--cert-file is not served by keelson yet"},
		{"--auto-tls", "--auto-tls"},
		{"--no-such-flag", "flag provided but not defined: -no-such-flag"},
		{"stray", `unexpected argument "stray"`},
		{"--listen-client-urls=http://127.0.0.1:1", "--advertise-client-urls is required"},
		{"--listen-client-urls=:1 --advertise-client-urls=http://a:1", "--listen-client-urls"},
		{"--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=http://a:1", "https is not served yet"},
		{"--listen-metrics-urls=http://name:1", "expected IP in URL for binding"},
		{"--election-timeout=300", "--election-timeout[300ms]"},
		{"--heartbeat-interval=0", "--heartbeat-interval"},
		{"--snapshot-count=x", "snapshot-count"},
		{"--max-request-bytes=0", "--max-request-bytes"},
		{"--initial-cluster-state=old", "--initial-cluster-state=old"},
		{"--log-format=xml", "--log-format=xml"},
	} {
		if _, err := parse(strings.Fields(test.args), nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}

// TestParseListsAllFaults wants one run to show everything that is wrong.
func TestParseListsAllFaults(t *testing.T) {
	_, err := parse([]string{"--max-txn-ops=0", "--snapshot-count=0", "--metrics=some"}, nil)
	for _, want := range []string{"--max-txn-ops", "--snapshot-count", "--metrics=some"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// TestHelp wants every served flag explained, with the default it has.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	(&config{}).register(fs)
	fs.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(out.String(), "--"+f.Name+" '") {
			t.Errorf("the help does not explain --%s", f.Name)
		}
		plain := strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(f.DefValue) // 10m0s is written 10m
		switch f.Name {
		case "data-dir", "initial-cluster": // derived from the name
			return
		}
		if !strings.Contains(out.String(), "--"+f.Name+" '"+plain+"'") {
			t.Errorf("the help does not give --%s the default %q", f.Name, plain)
		}
	})
}
