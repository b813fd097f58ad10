// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keelson.io/keelson/test/harness"
)

const readyLine = "ready to serve client requests"

// logged is what a server wrote to its standard output, and its standard error
// and files.
type logged struct{ stdout, stderr, file string }

// runLogging runs a server until it is ready, with flags in which FILE stands for
// a file.
func runLogging(t *testing.T, b harness.Binary, flags ...string) logged {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "log")
	args := []string{"--data-dir=" + filepath.Join(dir, "data"),
		"--listen-client-urls=unix://" + filepath.Join(dir, "client"), "--advertise-client-urls=unix://localhost:1",
		"--listen-peer-urls=http://127.0.0.1:0"}
	for _, f := range flags {
		args = append(args, strings.ReplaceAll(f, "FILE", file))
	}
	command := exec.Command(harness.Build(t, b), args...)
	command.Env, command.Dir = harness.CleanEnviron(), dir
	var stdout, stderr lockedBuffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() logged {
		text, _ := os.ReadFile(file) // is not there for all flags
		return logged{stdout.String(), stderr.String(), string(text)}
	}
	deadline := time.After(time.Minute)
	for all := read(); !strings.Contains(all.stdout+all.stderr+all.file, readyLine); all = read() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			_ = command.Process.Kill()
			t.Fatalf("%s %v is not ready: %+v", b, flags, all)
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // etcd dies of the signal, keelson ends by itself
	return read()
}

// TestLogOutputs wants lines where etcd has them, in the format that etcd gives them.
func TestLogOutputs(t *testing.T) {
	for _, flags := range [][]string{
		nil,
		{"--log-outputs=stdout"},
		{"--log-outputs=stderr,stdout,FILE"},
		{"--log-outputs=FILE", "--log-format=console"},
		{"--log-outputs=FILE", "--enable-log-rotation", "--log-level=debug"},
		{"--log-outputs=stderr,FILE", "--enable-log-rotation"},
	} {
		theirs, ours := runLogging(t, harness.EtcdServer, flags...), runLogging(t, harness.KeelsonServer, flags...)
		for _, out := range []struct{ name, theirs, ours string }{
			{"standard output", theirs.stdout, ours.stdout}, {"standard error", theirs.stderr, ours.stderr}, {"the file", theirs.file, ours.file},
		} {
			got, want := shape(t, out.ours), shape(t, out.theirs)
			if got != want {
				t.Errorf("%v: %s has lines of the shape %q, in etcd %q:\n%s", flags, out.name, got, want, out.ours)
			}
		}
	}
}

// shape is the form of the line that says that the server is ready.
func shape(t *testing.T, text string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.Contains(line, readyLine) {
			continue
		}
		if !strings.HasPrefix(line, "{") {
			parts := strings.Split(strings.TrimSpace(line), "\t")
			if _, err := time.Parse("2006-01-02T15:04:05.000000Z0700", parts[0]); err != nil {
				t.Error(err)
			}
			return strings.Join(append(parts[1:2], parts[3:]...), " ") // not the time, nor the place
		}
		var fields map[string]string
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Error(err)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z0700", fields["ts"]); err != nil {
			t.Error(err)
		}
		names := []string{"level " + fields["level"]}
		for name := range fields {
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	return ""
}

// TestLogJournal gives both servers a journal, which is a socket, and wants the
// same fields in it. Without one both refuse to start.
func TestLogJournal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the socket's path is fixed and is put into a namespace of the server's own")
	}
	fields := map[harness.Binary][]string{}
	for _, b := range []harness.Binary{harness.EtcdServer, harness.KeelsonServer} {
		dir := t.TempDir()
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		command := exec.Command("unshare", "-m", "sh", "-c",
			`mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"`,
			dir, harness.Build(t, b), "--log-outputs=systemd/journal", "--data-dir="+filepath.Join(dir, "data"),
			"--listen-client-urls=unix://"+filepath.Join(dir, "client"), "--advertise-client-urls=unix://localhost:1",
			"--listen-peer-urls=http://127.0.0.1:0")
		command.Env = harness.CleanEnviron()
		var printed lockedBuffer
		command.Stdout, command.Stderr = &printed, &printed
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		fields[b] = journalFields(t, socket, &printed)
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait() // was killed
		if strings.Contains(printed.String(), readyLine) {
			t.Errorf("%s prints what goes to the journal:\n%s", b, printed.String())
		}
		alone := exec.Command(harness.Build(t, b), "--log-outputs=systemd/journal", "--data-dir="+filepath.Join(dir, "alone"))
		alone.Env = harness.CleanEnviron()
		if _, err := os.Stat("/run/systemd/journal/socket"); err != nil {
			if out, err := alone.CombinedOutput(); err == nil || !strings.Contains(string(out), "can't find journal (") {
				t.Errorf("%s without a journal: %v\n%s", b, err, out)
			}
		}
	}
	if want, got := fields[harness.EtcdServer], fields[harness.KeelsonServer]; !slices.Equal(want, got) {
		t.Errorf("the journal gets %q, of etcd %q", got, want)
	}
}

// journalFields waits for the line that says that the server is ready and returns
// what its entry has.
func journalFields(t *testing.T, socket *net.UnixConn, printed *lockedBuffer) []string {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("%v\n%s", err, printed.String())
		}
		if !bytes.Contains(buf[:n], []byte(readyLine)) {
			continue
		}
		var names []string
		for line := range strings.Lines(string(buf[:n])) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); {
			case name == "PRIORITY":
				names = append(names, name+"="+value)
			case name == "PACKAGE", name == "SYSLOG_IDENTIFIER", name == "MESSAGE":
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
}
