// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"keelson.io/keelson/test/harness"
)

// perfVerdict are the lines that etcdctl ends its check with. Whether each is a
// pass depends on the machine.
var perfVerdict = regexp.MustCompile(`(?m)^((PASS|FAIL): )?(Throughput|Slowest request took|Stddev) .*$`)

// etcdctl check perf runs to its verdict. The smallest load takes a minute, so
// this is for the long run of the tests.
func TestCheckPerf(t *testing.T) {
	if os.Getenv("KEELSON_LONG") != "1" {
		t.Skip("takes a minute for each server; set KEELSON_LONG=1")
	}
	for _, kind := range []harness.Kind{harness.Etcd, challenger()} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newSession(t, etcdctl37(t), kind, plainMode)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, s.client.path, "--endpoints="+s.server.Endpoint(),
				"check", "perf", "--load=s", "--auto-compact", "--auto-defrag")
			cmd.Env = harness.CleanEnviron()
			// A verdict of too slow is an exit status, too.
			out, err := cmd.CombinedOutput()
			if ctx.Err() != nil {
				t.Fatalf("%v: %v\n%s", ctx.Err(), err, out)
			}
			if got := len(perfVerdict.FindAll(out, -1)); got != 3 {
				t.Errorf("%d of 3 lines of the verdict\n%s", got, out)
			}
		})
	}
}

// datascaleVerdict is the line that etcdctl ends its check with.
var datascaleVerdict = regexp.MustCompile(`(?m)^PASS: Approximate system memory used : -?[0-9.]+ MB\.$`)

// etcdctl check datascale fills a server, asks it how much memory that takes, and
// leaves nothing behind.
func TestCheckDatascale(t *testing.T) {
	for _, kind := range []harness.Kind{harness.Etcd, challenger()} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s := newSession(t, etcdctl37(t), kind, rootMode)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			stdout, stderr, code, err := s.exec(ctx, []string{"check", "datascale", "--load=s", "--auto-compact", "--auto-defrag"}, "")
			if err != nil {
				t.Fatal(err)
			}
			if code != 0 || !datascaleVerdict.MatchString(stdout) {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
			left, _, _, err := s.exec(ctx, []string{"get", "", "--prefix", "--keys-only"}, "")
			if err != nil || left != "" {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}
