// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
		t.Run(o.name, func(t *testing.T) {
			text := other(o)
			byFlag := newCommandLine()
			if err := byFlag.parseArgs([]string{"--" + o.name + "=" + text}); err != nil {
				t.Fatal(err)
			}
			byVariable := newCommandLine()
			byVariable.parseEnv([]string{variable(o.name) + "=" + text})
			lines := map[string]*commandLine{"flag": byFlag, "variable": byVariable}
			if o.name == "version" {
				delete(lines, "variable") // ETCD_VERSION is not for it
			}
			if o.key != noKey {
				path := filepath.Join(t.TempDir(), "conf.yaml")
				if err := os.WriteFile(path, []byte(asYAML(o, text)), 0o600); err != nil {
					t.Fatal(err)
				}
				lines["file"] = newCommandLine().parseFile(path)
			}
			for how, line := range lines {
				if o.state == missing {
					if len(line.faults) != 1 || !strings.Contains(line.faults[0].Error(), "--"+o.name+" is not served by keelson yet") {
						t.Errorf("%s: %v", how, line.faults)
					}
					continue
				}
				if err := errors.Join(line.faults...); err != nil {
					t.Errorf("%s: %v", how, err)
				}
				if got := line.options[i].value.String(); o.help != "" && got != text {
					t.Errorf("%s: %q arrived as %q", how, text, got)
				}
				if !line.given[o.name] {
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
		if want := "  --" + o.name + " '" + o.defaultText() + "'\n"; o.help != "" && !strings.Contains(out.String(), want) {
			t.Errorf("the help does not have %q", want)
		}
	}
}
