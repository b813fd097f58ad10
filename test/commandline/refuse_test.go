// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keelson.io/keelson/test/harness"
)

// etcdsWords is what etcd says is wrong: a line of its own, or in its log.
func etcdsWords(out string) string {
	first := ""
	for line := range strings.Lines(out) {
		var entry struct{ Msg, Error, Variable string }
		switch err := json.Unmarshal([]byte(line), &entry); {
		case err != nil && first == "" && strings.TrimSpace(line) != "":
			first = strings.TrimSpace(line)
		case err == nil && entry.Msg == "failed to verify flags":
			return entry.Error
		case err == nil && strings.HasPrefix(entry.Msg, "conflicting environment variable"):
			return entry.Msg
		}
	}
	return first
}

// TestRefusals wants what etcd refuses to be refused in etcd's words, on one line,
// with nothing written.
func TestRefusals(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "conf.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--config-file=" + path
	}
	for _, test := range []struct{ args, env string }{
		{args: "--no-such-flag"}, {args: "--experimental-compact-hash-check-enabled"}, {args: "--discovery=http://a"}, {args: "--name"}, {args: "stray"},
		{args: "--snapshot-count=x"}, {args: "--snapshot-count=-1"}, {args: "--pre-vote=x"}, {args: "--max-concurrent-streams=x"},
		{args: "--max-concurrent-streams=4294967296"}, {args: "--quota-backend-bytes=9999999999999999999"},
		{args: "--grpc-keepalive-timeout=5"}, {args: "--initial-cluster-state=old"}, {args: "--discovery-fallback=proxy"}, {args: "--discovery-fallback=x"},
		{args: "--listen-client-urls=127.0.0.1:1"}, {args: "--listen-client-urls=http://127.0.0.1"}, {args: "--listen-peer-urls=http://127.0.0.1:1/path"},
		{args: "--listen-metrics-urls=ftp://127.0.0.1:1"}, {args: "--listen-client-urls=http://127.0.0.1:1"}, {args: "--cors=x"},
		{args: "--initial-advertise-peer-urls=http://:1"}, {args: "--advertise-client-urls=http://:1"},
		{args: "--heartbeat-interval=0"}, {args: "--election-timeout=0"}, {args: "--election-timeout=400"}, {args: "--election-timeout=50001"},
		{args: "--compact-hash-check-time=0"}, {args: "--auto-compaction-mode=x"}, {args: "--logger=capnslog"}, {args: "--logger=x"}, {args: "--log-format=x"},
		{args: "--log-outputs=default,stdout"}, {args: "--enable-log-rotation"}, {args: "--enable-log-rotation --log-outputs=a --log-rotation-config-json=x"},
		{args: "--enable-distributed-tracing --distributed-tracing-sampling-rate=-1"},
		{args: "--enable-distributed-tracing --distributed-tracing-sampling-rate=1000001"},
		{args: "--feature-gates=x=true"}, {args: "--feature-gates=AllAlpha"}, {args: "--feature-gates=AllAlpha=x"}, {args: "--feature-gates=LeaseCheckpointPersist=true"},
		{args: "--discovery-token=x"}, {args: "--discovery-endpoints=127.0.0.1:1"}, {args: "--discovery-token=x --discovery-endpoints=127.0.0.1:1,,"},
		{args: "--discovery-srv=a --initial-cluster=b=http://c:1"},
		{env: "ETCD_SNAPSHOT_COUNT=x"}, {env: "ETCD_LISTEN_CLIENT_URLS=x"}, {env: "ETCD_MEMORY_MLOCK=x"}, {env: "ETCD_NAME=a", args: "--name=b"},
		{args: "--config-file=/no/such/file"}, {env: "ETCD_CONFIG_FILE=/no/such/file"},
		{args: file("heartbeat-interval: 0")}, {args: file("initial-cluster-state: old")}, {args: file("feature-gates: x=true")},
		{args: file("logger: x")}, {args: file("initial-cluster-token: 7")}, {args: file("max-wals: x")}, {args: file("pre-vote: 1")}, {args: file("peer-transport-security: 1")}, {args: file("election-timeout: 100")}, {args: file("discovery-config: {token: x}")},
	} {
		name := test.args + " " + test.env
		run := func(b harness.Binary) (string, string) {
			dir := t.TempDir()
			command := exec.Command(harness.Build(t, b), strings.Fields(test.args)...)
			command.Env, command.Dir = harness.CleanEnviron(), dir
			if test.env != "" {
				command.Env = append(command.Env, test.env)
			}
			out, err := command.CombinedOutput()
			if err == nil {
				t.Errorf("%s: %s takes it", name, b)
			}
			return dir, string(out)
		}
		_, out := run(harness.EtcdServer)
		words := etcdsWords(out)
		if strings.Contains(words, "Go struct field") {
			words = "conf.yaml: " // what follows is of use to etcd's programmers only
		}
		dir, ours := run(harness.KeelsonServer)
		// Where it says which flag, URL or variable is meant, it says more than etcd.
		if !strings.HasPrefix(ours, "keelson: ") || !strings.Contains(ours, words) || words == "" {
			t.Errorf("%s: etcd says %q, keelson\n%s", name, words, ours)
		}
		// Some are wrong for more than one reason.
		several := strings.Contains(name, "--election-timeout=0") || strings.Contains(strings.ToLower(name), "client")
		if !several && strings.Count(ours, "\n") != 1 {
			t.Errorf("%s: keelson says more than a line:\n%s", name, ours)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: keelson leaves %v, %v", name, left, err)
		}
	}
}

// TestConfigFile starts both servers from one file, with flags and variables
// beside it that must not count.
func TestConfigFile(t *testing.T) {
	for _, kind := range bothKinds {
		for _, form := range []string{yamlConfig, jsonConfig} {
			dir := t.TempDir()
			clients, peers, metrics := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
			path := filepath.Join(dir, "conf")
			text := fmt.Sprintf(form, filepath.Join(dir, "data"), peers, clients, metrics, filepath.Join(dir, "log"))
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			server := launchWith(t, kind, []string{"ETCD_NAME=variable"}, "--config-file="+path, "--name=flag", "--heartbeat-interval=7000")
			logged := func() string {
				text, _ := os.ReadFile(filepath.Join(dir, "log")) // is not there at first
				return string(text)
			}
			server.awaitLine(t, logged)
			if ids := memberIDs(t, fmt.Sprintf("127.0.0.1:%d", clients)); len(ids) != 1 || ids["file"] == 0 {
				t.Errorf("%s: the members are %v", kind, ids)
			}
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health", metrics))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: the metrics' listener: %v, %v", kind, resp, err)
			} else {
				_ = resp.Body.Close() // nothing was read
			}
			loaded := slices.ContainsFunc(strings.Split(logged(), "\n"), func(line string) bool {
				return strings.Contains(line, "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided")
			})
			if !loaded {
				t.Errorf("%s does not log that the file counts", kind)
			}
		}
	}
}

const yamlConfig = `# All of this is etcd's.
name: file
data-dir: %s
listen-peer-urls: http://127.0.0.1:%[2]d
initial-advertise-peer-urls: http://127.0.0.1:%[2]d
initial-cluster: file=http://127.0.0.1:%[2]d
listen-client-urls: http://127.0.0.1:%[3]d
advertise-client-urls: http://127.0.0.1:%[3]d
listen-metrics-urls: http://127.0.0.1:%[4]d
log-outputs: ["%[5]s"]
log-level: info
heartbeat-interval: 50
election-timeout: 500
snapshot-count: 1e4
pre-vote: yes
grpc-keepalive-timeout: 20000000000
auto-compaction-retention: "1"
cors: "*"
socket-options:
  reuse-port: true
peer-transport-security:
  auto-tls: false
  allowed-cn: []
client-transport-security: {}
discovery-config:
  client:
    dial-timeout: 2000000000
quota-backend-bytes:
`

const jsonConfig = `{"name": "file", "data-dir": "%s", "listen-peer-urls": "http://127.0.0.1:%[2]d",
"initial-advertise-peer-urls": "http://127.0.0.1:%[2]d", "initial-cluster": "file=http://127.0.0.1:%[2]d",
"listen-client-urls": "http://127.0.0.1:%[3]d", "advertise-client-urls": "http://127.0.0.1:%[3]d",
"listen-metrics-urls": "http://127.0.0.1:%[4]d", "log-outputs": ["%[5]s"], "client-transport-security": {"client-cert-auth": false}}`
