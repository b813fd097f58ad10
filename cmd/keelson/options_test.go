// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/pkg/v3/netutil"
)

func TestParse(t *testing.T) {
	t.Setenv("ETCD_SNAPSHOT_COUNT", "7")
	t.Setenv("ETCD_NO_SUCH_FLAG", "7")
	t.Setenv("ETCD_VERSION", "3")
	t.Setenv("ETCD_WAL_DIR", "") // as good as none
	c, err := parse([]string{
		"-name", "n1", "--data-dir=/d", "--listen-client-urls", "http://127.0.0.1:1,unix://sock",
		"--advertise-client-urls=http://127.0.0.1:1", "--grpc-keepalive-timeout=3s", "--backend-batch-limit", "5", "--memory-mlock", "-v",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.name != "n1" || c.dataDir != "/d" || c.snapshotCount != 7 || c.keepAliveTimeout != 3*time.Second || c.walDir != "" {
		t.Errorf("parsed %+v", c)
	}
	if len(c.listenClientURLs) != 2 || c.initialCluster != "n1=http://localhost:2380" {
		t.Errorf("URLs %v, cluster %q", c.listenClientURLs, c.initialCluster)
	}
	notes := fmt.Sprint(c.notes)
	for _, want := range []string{"backend-batch-limit", "memory-mlock", "{flag 15 0 v", "ETCD_NO_SUCH_FLAG", "ETCD_VERSION"} {
		if !strings.Contains(notes, want) {
			t.Errorf("%s is not in the notes %s", want, notes)
		}
	}
	if c, err := parse(nil, nil); err != nil || c.dataDir != "default.keelson" {
		t.Errorf("without flags: %+v, %v", c, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--no-such-flag", "flag provided but not defined: -no-such-flag"},
		{"--=x", "bad flag syntax: --=x"},
		{"---", "bad flag syntax: ---"},
		{"--name", "flag needs an argument: -name"},
		{"stray", `"stray" is not a valid flag`},
		{"--listen-client-urls=http://127.0.0.1:1", "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
		{"--listen-client-urls=:1 --advertise-client-urls=http://a:1", "listen-client-urls"},
		{"--listen-metrics-urls=http://name:1", "expected IP in URL for binding (http://name:1)"},
		{"--election-timeout=300", "--election-timeout[300ms] should be at least as 5 times as --heartbeat-interval[100ms]"},
		{"--heartbeat-interval=0", "--heartbeat-interval must be >0 (set to 0ms)"},
		{"--snapshot-count=x", `invalid value "x" for flag -snapshot-count: parse error`},
		{"--pre-vote=x", `invalid boolean value "x" for -pre-vote: parse error`},
		{"--max-concurrent-streams=x", `invalid value "x" for flag -max-concurrent-streams: strconv.ParseUint: parsing "x": invalid syntax`},
		{"--max-request-bytes=0", "--max-request-bytes"},
		{"--initial-cluster-state=old", `invalid value "old" for flag -initial-cluster-state: invalid value`},
		{"--log-format=xml", "unknown log format: xml, supported values json, console"},
		{"--logger=capnslog", "--logger=capnslog is removed in v3.5"},
		{"--discovery-fallback=proxy", `v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`},
		{"--config-file=/nope", "open /nope: no such file or directory"},
	} {
		if _, err := parse(strings.Fields(test.args), nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}

// TestParseListsAllFaults wants one run to show everything that is wrong, a line each.
func TestParseListsAllFaults(t *testing.T) {
	t.Setenv("ETCD_MAX_WALS", "many")
	t.Setenv("ETCD_NAME", "n2")
	_, err := parse([]string{"--max-txn-ops=0", "--nope", "x", "--snapshot-count=y", "--name=n1", "--metrics=some"}, nil)
	if err == nil {
		t.Fatal("no fault")
	}
	want := []string{
		"flag provided but not defined: -nope",
		`invalid value "y" for flag -snapshot-count: parse error`,
		"conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag)): ETCD_NAME",
		`invalid value "many" for ETCD_MAX_WALS: parse error`,
		"--max-txn-ops must be above 0",
		"--metrics=some: neither basic nor extensive",
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("faults:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// TestDefaultHost wants what is told to others to be an address that they can use.
func TestDefaultHost(t *testing.T) {
	host, missing := netutil.GetDefaultHost()
	c, err := parse([]string{"--name=n1", "--listen-peer-urls=http://0.0.0.0:7"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "http://" + net.JoinHostPort(host, "7")
	if missing != nil {
		want = defaultPeerURLs // this machine has no route to others
	}
	if c.initialAdvertisePeerURLs.String() != want || c.initialCluster != "n1="+want {
		t.Errorf("others are told %s, the cluster is %s; want %s", c.initialAdvertisePeerURLs, c.initialCluster, want)
	}
	if c, err = parse([]string{"--listen-peer-urls=http://0.0.0.0:7", "--initial-advertise-peer-urls=http://a:1"}, nil); err != nil || c.initialAdvertisePeerURLs.String() != "http://a:1" {
		t.Errorf("others are told %s, %v", c.initialAdvertisePeerURLs, err)
	}
}

// other returns a text that an option takes and that is not its default.
func other(o option) string {
	getter, ok := o.value.(flag.Getter)
	if !ok {
		return "SetMemberLocalAddr=true" // or anything
	}
	if c, ok := o.value.(choice); ok {
		return c.valids[len(c.valids)-1]
	}
	switch o.value.(type) {
	case urls, origins:
		return "http://127.0.0.1:77"
	}
	switch v := getter.Get().(type) {
	case bool:
		return fmt.Sprint(!v)
	case string, []string:
		return "a,b"
	case time.Duration:
		return "7s"
	}
	return "77"
}

// asYAML writes a setting as the file has it.
func asYAML(o option, text string) string {
	var value string
	getter, ok := o.value.(flag.Getter)
	if !ok {
		getter = choice{to: &text}
	}
	switch getter.Get().(type) {
	case time.Duration:
		d, _ := time.ParseDuration(text)
		value = fmt.Sprint(int64(d))
	case []string:
		value = "[" + text + "]"
	case string:
		value = fmt.Sprintf("%q", text)
	default:
		value = text
	}
	sections := strings.Split(o.fileKey(), ".")
	var b strings.Builder
	for i, s := range sections {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), s)
		if i < len(sections)-1 {
			b.WriteString("\n")
		}
	}
	return b.String() + " " + value + "\n"
}

// TestEveryOption gives each option as a flag, as a variable and in a file: the
// value must arrive all three times.
func TestEveryOption(t *testing.T) {
	for i, o := range newCommandLine().options {
		t.Run(o.name+" "+o.key, func(t *testing.T) {
			text := other(o)
			lines := map[string]*commandLine{}
			if o.name != noFlag {
				lines["flag"] = newCommandLine()
				if err := lines["flag"].parseArgs([]string{"--" + o.name + "=" + text}); err != nil {
					t.Fatal(err)
				}
			}
			if o.name != noFlag && o.name != "version" { // ETCD_VERSION is not for it
				lines["variable"] = newCommandLine()
				lines["variable"].parseEnv([]string{variable(o.name) + "=" + text})
			}
			if o.key != noKey {
				path := filepath.Join(t.TempDir(), "conf.yaml")
				if err := os.WriteFile(path, []byte(asYAML(o, text)), 0o600); err != nil {
					t.Fatal(err)
				}
				lines["file"] = newCommandLine().parseFile(path)
			}
			for how, line := range lines {
				if err := errors.Join(line.faults...); err != nil {
					t.Errorf("%s: %v", how, err)
				}
				if got := line.options[i].value.String(); (o.help != "" || o.name == noFlag) && got != text {
					t.Errorf("%s: %q arrived as %q", how, text, got)
				}
				if o.name != noFlag && !line.given[o.name] {
					t.Errorf("%s: not noted as given", how)
				}
			}
		})
	}
}

// TestHelp wants every option explained, with the default it has.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, &out); !errors.Is(err, errPrinted) {
		t.Fatal(err)
	}
	for _, o := range newCommandLine().options {
		if want := "  --" + o.name + " '" + o.defaultText() + "'\n"; o.help != "" && o.name != noFlag && !strings.Contains(out.String(), want) {
			t.Errorf("the help does not have %q", want)
		}
	}
}
