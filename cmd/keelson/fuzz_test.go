// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkParsed wants a command line to be taken whole or refused with a reason.
func checkParsed(t *testing.T, args []string) {
	c, err := parse(args, io.Discard)
	if (c == nil) != (err != nil) {
		t.Fatalf("%q: %v, error %v", args, c, err)
	}
	if err != nil && !errors.Is(err, errPrinted) && strings.TrimSpace(err.Error()) == "" {
		t.Fatalf("%q: refused without a reason", args)
	}
	if err == nil && c.rotateLogs {
		if _, err := c.rotation(); err != nil {
			t.Fatalf("%q: taken, but %v", args, err)
		}
	}
}

// FuzzConfigFile reads any file as settings.
func FuzzConfigFile(f *testing.F) {
	for _, text := range []string{
		"name: n1\nlisten-client-urls: http://127.0.0.1:1\nadvertise-client-urls: http://127.0.0.1:1\n", "client-transport-security:\n  cert-file: a\n  client-cert-auth: true\n",
		"{\"snapshot-count\": 5, \"heartbeat-interval\": 1e3}", "log-outputs: [a, 1]", "auto-compaction-retention: 1h", "name: &a [*a]", "? {a: b}\n: c", "- 1", "\x00", "name: ~",
		"experimental-distributed-tracing:", "tls-min-version: TLS1.2\ncipher-suites: [x]\n", "max-txn-ops: -1", "log-rotation-config-json: '{\"maxsize\": -1}'\nenable-log-rotation: true\nlog-outputs: [/f]\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		checkParsed(t, []string{"--config-file=" + path})
	})
}

// FuzzFlag gives every flag any value, one flag at a time.
func FuzzFlag(f *testing.F) {
	names := []string{"", "-"}
	for _, o := range newCommandLine().options {
		if o.name == noFlag {
			continue
		}
		f.Add(uint16(len(names)), o.value.String())
		names = append(names, o.name)
	}
	for _, text := range []string{"", "-1", "9223372036854775807s", "1e400", "http://[::1", "a=b=c,,", "TLS1.3", "{\"maxsize\": 1e99}", "%zz", "\x00"} {
		for i := range names {
			f.Add(uint16(i), text)
		}
	}
	files := []string{"config-file"} // FuzzConfigFile's; any other file is only read later
	f.Fuzz(func(t *testing.T, which uint16, text string) {
		if name := names[int(which)%len(names)]; !slices.Contains(files, name) {
			checkParsed(t, []string{"--" + name + "=" + text})
		}
	})
}

// FuzzLogRotation reads any text as the configuration of log rotation.
func FuzzLogRotation(f *testing.F) {
	for _, text := range []string{`{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`, `null`, `[]`, `{"maxsize": 1.5}`, `{"maxsize": "1"}`, `{`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkParsed(t, []string{"--enable-log-rotation", "--log-outputs=/f", "--log-rotation-config-json=" + text})
	})
}
