// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func startShell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Spec{
		Name:    "shell",
		Binary:  "/bin/sh",
		Args:    []string{"-c", script},
		LogPath: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestExitedCarriesTheLog(t *testing.T) {
	p := startShell(t, "echo first; echo second >&2; exit 3")
	<-p.Done()
	err := p.Exited()
	if err == nil {
		t.Fatal("no error for a child that ended")
	}
	for _, want := range []string{"exit status 3", "first", "second"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestStopIsGraceful(t *testing.T) {
	p := startShell(t, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
	waitForLog(t, p, "up")
	if err := p.Exited(); err != nil {
		t.Fatalf("running, but: %v", err)
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := p.LogTail(1); got != "bye" {
		t.Errorf("last log line %q, want bye", got)
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	p := startShell(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	waitForLog(t, p, "up")
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no patience
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("still running")
	}
}

func TestCPUGrows(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processor time is read from Linux's /proc")
	}
	p := startShell(t, "while :; do :; done")
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		cpu, err := p.CPU()
		if err != nil {
			t.Fatal(err)
		}
		if cpu >= 2*clockTick {
			return
		}
		time.Sleep(clockTick)
	}
	t.Error("a busy loop used no processor time")
}

func TestParseStatCPU(t *testing.T) {
	for _, tc := range []struct {
		name, stat string
		want       time.Duration
		wantErr    bool
	}{
		{name: "plain", stat: "7 (keelson) S 1 7 7 0 -1 4 1 0 0 0 150 50 0 0 20", want: 2 * time.Second},
		{name: "odd name", stat: "7 (a) b (c) S 1 7 7 0 -1 4 1 0 0 0 1 2 0 0 20", want: 30 * time.Millisecond},
		{name: "short", stat: "7 (keelson) S 1 7", wantErr: true},
		{name: "no name", stat: "7", wantErr: true},
		{name: "letters", stat: "7 (keelson) S 1 7 7 0 -1 4 1 0 0 0 x 50 0 0 20", wantErr: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseStatCPU(tc.stat)
			if (err != nil) != tc.wantErr || got != tc.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func waitForLog(t *testing.T, p *Process, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if strings.Contains(p.LogTail(10), want) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("log of %s never said %q", p.Name(), want)
}
