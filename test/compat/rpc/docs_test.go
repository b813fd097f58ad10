// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// documented returns a section of docs/compatibility.md.
func documented(t *testing.T, section string) string {
	t.Helper()
	data, err := os.ReadFile("../../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/compatibility.md has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// wantNamed fails the test if a name does not stand in a section, as code.
func wantNamed(t *testing.T, section, kind, name string) {
	t.Helper()
	if !regexp.MustCompile("`([A-Z][A-Za-z]*\\.)?" + regexp.QuoteMeta(name) + "`").MatchString(documented(t, section)) {
		t.Errorf("docs/compatibility.md, %s: no %s is called %s", section, kind, name)
	}
}

// The user's page names every method that etcd has.
func TestDocsNameEveryMethod(t *testing.T) {
	for name := range methods {
		wantNamed(t, "gRPC", "method", name)
	}
	data, err := os.ReadFile("../../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "not yet") {
		t.Error("docs/compatibility.md says that something is not there yet")
	}
}

// And every command of its tools.
func TestDocsNameEveryCommand(t *testing.T) {
	command := regexp.MustCompile(`(?m)^  ([a-z-]+) {2,}[A-Zc]`)
	for _, tool := range []harness.Binary{harness.Etcdctl, harness.Etcdutl} {
		help, err := exec.Command(harness.Build(t, tool), "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		found := command.FindAllStringSubmatch(string(help), -1)
		if len(found) < 5 {
			t.Fatalf("%d commands are found in the help of a tool:\n%s", len(found), help)
		}
		for _, match := range found {
			wantNamed(t, "Commands", "command", match[1])
		}
	}
}

// And every metric that one of the two servers has and the other has not.
func TestDocsNameEveryMetric(t *testing.T) {
	etcd, keelson := metricsOf(t, harness.Etcd), metricsOf(t, harness.Keelson)
	for name, kind := range etcd {
		switch got, ok := keelson[name]; {
		case !ok:
			wantNamed(t, "Metrics", "metric", name)
		case got != kind:
			t.Errorf("%s is a %s, in etcd a %s", name, got, kind)
		}
	}
	for name := range keelson {
		if _, ok := etcd[name]; !ok {
			wantNamed(t, "Metrics", "metric", name)
		}
	}
	text := documented(t, "Metrics")
	for _, match := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(text, -1) {
		name := match[1]
		_, ofEtcd := etcd[name]
		_, ofKeelson := keelson[name]
		if ofEtcd == ofKeelson && !ofTLS(name) {
			t.Errorf("docs/compatibility.md tells of %s, which is not a difference", name)
		}
	}
}

// ofTLS tells the metrics that a server without certificates has not.
func ofTLS(name string) bool { return strings.HasPrefix(name, "keelson_tls_") }

// metricsOf returns a server's metrics and their types.
func metricsOf(t *testing.T, kind harness.Kind) map[string]string {
	t.Helper()
	s := harness.Start(t, kind, harness.Options{Args: []string{"--metrics=extensive"}})
	object := &pb.PutRequest{Key: []byte("/registry/pods/default/p"), Value: []byte("pod")}
	if _, err := pb.NewKVClient(s.Conn(t)).Put(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	types := make(map[string]string)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) == 4 && words[1] == "TYPE" {
			types[words[2]] = words[3]
		}
	}
	if len(types) < 100 {
		t.Fatalf("%v has %d metrics", kind, len(types))
	}
	return types
}
