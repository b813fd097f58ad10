// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "conf.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFile wants a file to be all there is: flags and variables do not count then.
func TestFile(t *testing.T) {
	t.Setenv("ETCD_WAL_DIR", "/env")
	for _, text := range []string{
		"name: \"7\"\nsnapshot-count: 1e6\ndata-dir: /d\nlisten-client-urls: http://127.0.0.1:1\npeer-transport-security:\n  trusted-ca-file: ca\n" +
			"watch-progress-notify-interval: 600000000000\nlog-outputs: [stderr, /tmp/log]\nmax-wals:\n",
		`{"name": "7", "snapshot-count": 1e6, "data-dir": "/d", "listen-client-urls": "http://127.0.0.1:1", "peer-transport-security": {"trusted-ca-file": "ca"},` +
			`"watch-progress-notify-interval": 600000000000, "log-outputs": ["stderr", "/tmp/log"]}`,
	} {
		c, err := parse([]string{"--config-file", writeFile(t, text), "--max-txn-ops=3", "--raft-read-timeout=9s"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.name != "7" || c.dataDir != "/d" || c.peerTLS.TrustedCAFile != "ca" || c.watchProgressInterval != 10*time.Minute || len(c.logOutputs) != 2 {
			t.Errorf("the file's settings did not arrive: %+v", c)
		}
		if c.snapshotCount != 1000000 || c.maxTxnOps != 128 || c.walDir != "" || c.maxWALs != 5 {
			t.Errorf("what is not in the file counts: %+v", c)
		}
		if c.raftReadTimeout != 9*time.Second {
			t.Errorf("--raft-read-timeout, which has no key, is %v", c.raftReadTimeout)
		}
		if !strings.Contains(fmt.Sprint(c.notes), "loaded server configuration") {
			t.Errorf("notes: %v", c.notes)
		}
	}
	t.Setenv("ETCD_CONFIG_FILE", writeFile(t, "name: n3"))
	if c, err := parse(nil, nil); err != nil || c.name != "n3" || c.initialCluster != "n3=http://localhost:2380" || c.walDir != "" {
		t.Errorf("by variable: %+v, %v", c, err)
	}
	t.Setenv("ETCD_CONFIG_FILE", writeFile(t, ""))
	if c, err := parse(nil, nil); err != nil || c.name != "default" {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
}

func TestFileRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"nmae: x", `unknown setting "nmae"`},
		{"raft-read-timeout: 5", `unknown setting "raft-read-timeout"`},
		{"peer-transport-security: {cert: x}", `unknown setting "peer-transport-security.cert"`},
		{"peer-transport-security: x", "invalid peer-transport-security"},
		{"snapshot-count: x", `snapshot-count: "x" is not a number`},
		{"snapshot-count: -1", "snapshot-count: parse error"},
		{`pre-vote: "true"`, `pre-vote: "true" is neither true nor false`},
		{"grpc-keepalive-timeout: 3s", `grpc-keepalive-timeout: "3s" is not a whole number of nanoseconds`},
		{"log-outputs: stderr", "log-outputs: stderr is not a list"},
		{"name: [a]", "name: [a] is not a text: write it in quotes"},
		{"name: 7", "name: 7 is not a text: write it in quotes"},
		{"log-outputs: [7]", "log-outputs: 7 is not a text: write it in quotes"},
		{"listen-peer-urls: x", "listen-peer-urls: URL scheme must be http, https, unix, or unixs: x"},
		{"initial-cluster-state: old", `initial-cluster-state: unexpected clusterState "old"`},
		{"name: a\nname: b", `key "name" already set in map`},
		{"- name", "settings are written as name: value"},
		{"name: [", "did not find expected node content"},
		{"heartbeat-interval: 0", "--heartbeat-interval must be >0 (set to 0ms)"},
	} {
		path := writeFile(t, test.text)
		if _, err := parse([]string{"--config-file", path}, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.text, err, test.want)
		}
	}
	_, err := parse([]string{"--config-file", writeFile(t, "a: 1\nb: 2\nsnapshot-count: 0"), "--max-wals=x"}, nil)
	if err == nil || len(strings.Split(err.Error(), "\n")) != 4 {
		t.Errorf("four faults are: %v", err)
	}
}
