// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness_test

import (
	"syscall"
	"testing"

	"keelson.io/keelson/test/harness"
)

func kinds() []harness.Kind {
	if harness.HasKeelson() {
		return []harness.Kind{harness.Etcd, harness.Keelson}
	}
	return []harness.Kind{harness.Etcd}
}

// What was acknowledged is there after a kill and after a stop, on the same
// ports, for a client that was connected all the time.
func TestRestartKeepsPortsAndData(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			ctx := t.Context()
			s := harness.Start(t, kind, harness.Options{})
			c := s.Client(t)
			for round, end := range []func(){s.Kill, s.Stop} {
				if _, err := c.Put(ctx, "k", "v"); err != nil {
					t.Fatal(err)
				}
				pid, endpoint := s.PID(), s.Endpoint()
				end()
				if s.Running() {
					t.Fatal("the server still runs")
				}
				s.Restart()
				if s.PID() == pid || s.Endpoint() != endpoint {
					t.Fatalf("pid %d then %d, endpoint %s then %s", pid, s.PID(), endpoint, s.Endpoint())
				}
				resp, err := c.Get(ctx, "k")
				if err != nil {
					t.Fatal(err)
				}
				if resp.Count != 1 || resp.Kvs[0].Version != int64(round+1) {
					t.Fatalf("round %d: %v", round, resp)
				}
			}
		})
	}
}

func TestPortsAreDistinct(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		p := harness.FreePort(t)
		if seen[p] {
			t.Fatalf("port %d was handed out twice", p)
		}
		seen[p] = true
	}
}

// recorder is a testing.TB that remembers whether it was failed.
type recorder struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Failed() bool          { return r.failed }
func (r *recorder) Cleanup(f func())      { r.cleanups = append(r.cleanups, f) }

// A server that dies unasked must not go unnoticed.
func TestSelfInflictedDeathFailsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	s := harness.Start(r, harness.Etcd, harness.Options{})
	killBehindTheHarness(t, s.PID())
	<-s.Exited()
	for _, f := range r.cleanups {
		f()
	}
	if !r.failed {
		t.Fatal("nothing was reported")
	}
}

func killBehindTheHarness(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
