// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	_ "modernc.org/sqlite" // the driver by which the file is checked

	"keelson.io/keelson/test/harness"
)

// exitTimeout bounds the wait for a process that is to refuse its work.
const exitTimeout = 20 * time.Second

// serverKind is the server under test, from KEELSON_TEST_SERVER: keelson (the default) or etcd.
func serverKind(t *testing.T) harness.Kind {
	t.Helper()
	switch name := os.Getenv("KEELSON_TEST_SERVER"); name {
	case "", harness.Keelson.String():
		return harness.Keelson
	case harness.Etcd.String():
		return harness.Etcd
	default:
		t.Fatalf("KEELSON_TEST_SERVER is %q, want keelson or etcd", name)
		return 0
	}
}

// keelsonOnly skips what etcd does otherwise, or not at all.
func keelsonOnly(t *testing.T) {
	t.Helper()
	if serverKind(t) != harness.Keelson {
		t.Skip("etcd does not promise this; KEELSON_TEST_SERVER asks for etcd")
	}
}

// databasePath is the SQLite file in a data directory.
func databasePath(server *harness.Server) string {
	return filepath.Join(server.DataDir(), "member", "snap", "keelson.db")
}

// walDir is the folder of the log's segments in a data directory.
func walDir(server *harness.Server) string {
	return filepath.Join(server.DataDir(), "member", "wal")
}

// command is a process on the ports and the data directory of a server that does not run.
func command(ctx context.Context, t *testing.T, server *harness.Server) *exec.Cmd {
	t.Helper()
	binary := harness.KeelsonServer
	if server.Kind() == harness.Etcd {
		binary = harness.EtcdServer
	}
	name := server.Kind().String()
	cmd := exec.CommandContext(ctx, harness.Build(t, binary),
		"--name="+name,
		"--data-dir="+server.DataDir(),
		"--listen-client-urls="+server.URL(), "--advertise-client-urls="+server.URL(),
		"--listen-peer-urls="+server.PeerURL(), "--initial-advertise-peer-urls="+server.PeerURL(),
		"--initial-cluster="+name+"="+server.PeerURL())
	cmd.Env = harness.CleanEnviron()
	return cmd
}

// killInStartUp starts a server that does not run and kills it a moment later, most likely while it replays its log.
func killInStartUp(t *testing.T, server *harness.Server, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	var exit *exec.ExitError
	if err := command(ctx, t, server).Run(); err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		t.Fatalf("start the server to kill it: %v", err)
	}
}

// refusal starts a server that must end by itself, with an error, and returns the lines that it prints.
func refusal(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Fatalf("the server ended with %v, want an exit code that is not 0; it printed:\n%s", err, output.String())
	}
	return strings.Split(strings.TrimSpace(output.String()), "\n")
}

// refusalOn is refusal for a server on its own files.
func refusalOn(t *testing.T, server *harness.Server) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), exitTimeout)
	defer cancel()
	return refusal(t, command(ctx, t, server))
}

// wantOneLine wants exactly one of the printed lines to contain all words, and returns it. It is the last one, so that
// who looks at the end of a log finds it.
func wantOneLine(t *testing.T, lines []string, words ...string) string {
	t.Helper()
	last := lines[len(lines)-1]
	for _, word := range words {
		if !strings.Contains(strings.ToLower(last), strings.ToLower(word)) {
			t.Errorf("the last line does not say %q:\n%s", word, strings.Join(lines, "\n"))
		}
	}
	for _, line := range lines {
		if strings.Contains(line, "goroutine ") || strings.HasPrefix(line, "panic:") {
			t.Errorf("the server crashed instead of refusing:\n%s", strings.Join(lines, "\n"))
			break
		}
	}
	return last
}

// checkFile runs SQLite's own check on a copy of the file of a server that does not run.
func checkFile(t *testing.T, server *harness.Server) {
	t.Helper()
	if server.Kind() != harness.Keelson {
		return
	}
	dir, err := os.MkdirTemp(t.TempDir(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "copy.db")
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		data, err := os.ReadFile(databasePath(server) + suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		if err == nil {
			err = os.WriteFile(path+suffix, data, 0o600)
		}
		if err != nil {
			t.Fatalf("copy the SQLite file: %v", err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatalf("open the copy: %v", err)
	}
	defer db.Close()
	var answer string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&answer); err != nil || answer != "ok" {
		t.Errorf("PRAGMA integrity_check says %q (%v)", answer, err)
	}
}

// isCompacted says whether an error is etcd's for a revision that is compacted already.
func isCompacted(err error) bool {
	want, _ := status.FromError(rpctypes.ErrGRPCCompacted)
	got, ok := status.FromError(err)
	return ok && got.Code() == want.Code() && got.Message() == want.Message()
}
