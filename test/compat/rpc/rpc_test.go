// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keelson.io/keelson/test/harness"
)

// Every method, with every field of its request, has the same responses and errors on
// etcd and on keelson.
func TestMethods(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	seen := newCoverage()
	t.Run("scripts", func(t *testing.T) {
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				t.Parallel()
				play(t, file, seen)
			})
		}
	})
	if !t.Failed() {
		seen.check(t)
	}
}

// play runs a script on both servers, step by step.
func play(t *testing.T, file string, seen *coverage) {
	s := readScript(t, file)
	etcd := newSession(t, harness.Etcd, s.args, seen)
	keelson := newSession(t, harness.Keelson, s.args, seen)
	for _, st := range s.steps {
		var want, got string
		var failed bool
		var both sync.WaitGroup
		both.Go(func() { want, failed = etcd.run(st) })
		both.Go(func() { got, _ = keelson.run(st) })
		both.Wait()
		if failed != st.fails {
			t.Errorf("%s:%d: %s\nexpected to fail: %v; etcd answers\n%s", file, st.line, st.text, st.fails, want)
		}
		if got != want {
			t.Errorf("%s:%d: %s\n--- etcd\n%s\n--- keelson\n%s", file, st.line, st.text, want, got)
		}
	}
}
