// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestLogsRefused(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--log-outputs=default,stdout", `multi logoutput for "default" is not supported yet`},
		{"--log-outputs=systemd/journal,stdout", `running with systemd/journal but other '--log-outputs' values (["systemd/journal" "stdout"]) are configured`},
		{"--log-outputs=", "--log-outputs: an empty name"},
		{"--enable-log-rotation", "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
		{"--enable-log-rotation --log-outputs=a,b", "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json={", "improperly formatted log rotation config: unexpected end of JSON input"},
		{`--enable-log-rotation --log-outputs=a --log-rotation-config-json={"maxsize":true}`, "invalid log rotation config: json: cannot unmarshal bool"},
		{"--log-level=loud", "--log-level=loud: unrecognized level"},
		{"--logger=other", `unknown logger option "other"`},
	} {
		if _, err := parse(strings.Fields(test.args), nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}

// TestLogRotation writes more than a file may hold and wants the rest in another,
// with nothing lost.
func TestLogRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keelson.log")
	c, err := parse([]string{"--log-outputs=stderr," + path, "--enable-log-rotation", "--log-level=error",
		`--log-rotation-config-json={"maxsize": 1, "maxbackups": 1}`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.logOutputs = []string{path} // the test's own standard error is not to be filled
	logger, err := newLogger(c)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 300
	padding := strings.Repeat("x", 5<<10)
	for i := range lines {
		logger.Error(fmt.Sprint("line ", i), zap.String("padding", padding))
		logger.Info("not at this level")
	}
	files, err := filepath.Glob(filepath.Join(dir, "keelson*.log"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v: want the log and one that is full", files, err)
	}
	written := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 1<<20 {
			t.Errorf("%s has %d bytes, more than a megabyte", f, len(text))
		}
		written += strings.Count(string(text), padding)
	}
	if written != lines {
		t.Errorf("%d lines of %d were written", written, lines)
	}
}
