// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Kind is which server a process runs.
type Kind int

// The kinds. Both take etcd's flags.
const (
	Keelson Kind = iota
	Etcd
)

// String returns the name that logs and subtests use.
func (k Kind) String() string {
	if k == Keelson {
		return "keelson"
	}
	return "etcd"
}

func (k Kind) binary() Binary {
	if k == Keelson {
		return KeelsonServer
	}
	return EtcdServer
}

// Limits of the harness's own waiting. They are generous: they end a test that
// hangs and are no measure of a server.
const (
	defaultReadyWithin = 60 * time.Second
	stopWithin         = 30 * time.Second
	pollEvery          = 10 * time.Millisecond
	logTailBytes       = 3 << 10
)

// Options of a server. The zero value is a node of its own cluster.
type Options struct {
	// Name is the member's name. Default: the kind's name.
	Name string
	// DataDir is created by the server when missing. Default: below t.TempDir.
	DataDir string
	// Args are added to the command line after the harness's own, so that a flag
	// given here wins.
	Args []string
	// Env are NAME=value pairs on top of the test's environment, which loses its
	// ETCD_* and ETCDCTL_* entries first.
	Env []string
	// Host is where the server listens, for clients and for members, and On the
	// network's host that it runs on. Default: 127.0.0.1, and this one.
	Host string
	On   *Host
	// TLS is how this test's clients connect, to https URLs then; nil: to http ones.
	// PeerScheme is that of the URLs for members. Default: http. Args have the
	// server's side of both.
	TLS        *tls.Config
	PeerScheme string
	// Cluster are the members of the cluster as name=url,name=url. Default: only
	// this one.
	Cluster string
	// ReadyWithin bounds the wait for /health. Default: 60 s.
	ReadyWithin time.Duration
}

// Server is one server process, or the place of one between Stop and Restart.
// Its methods belong to the test's goroutine, but for Endpoint, URL, DataDir,
// Log and Signal, which any goroutine may call.
type Server struct {
	t          testing.TB
	kind       Kind
	opts       Options
	bin        string
	clientPort int
	peerPort   int
	logPath    string
	proc       *process
}

// Start runs a server and waits until it is healthy. The test fails if that
// does not happen in time. The server is stopped when the test ends.
func Start(t testing.TB, kind Kind, opts Options) *Server {
	t.Helper()
	s := New(t, kind, opts)
	s.Restart()
	return s
}

// New prepares a server with its ports and directories and does not run it.
func New(t testing.TB, kind Kind, opts Options) *Server {
	t.Helper()
	dir := t.TempDir()
	if opts.Name == "" {
		opts.Name = kind.String()
	}
	if opts.DataDir == "" {
		opts.DataDir = filepath.Join(dir, opts.Name+".data")
	}
	if opts.On != nil {
		opts.Host = opts.On.Address
	}
	if opts.Host == "" {
		opts.Host = loopback
	}
	if opts.PeerScheme == "" {
		opts.PeerScheme = "http"
	}
	if opts.ReadyWithin == 0 {
		opts.ReadyWithin = defaultReadyWithin
	}
	s := &Server{
		t: t, kind: kind, opts: opts,
		bin:        Build(t, kind.binary()),
		clientPort: FreePort(t),
		peerPort:   FreePort(t),
		logPath:    filepath.Join(dir, opts.Name+".log"),
	}
	t.Cleanup(s.cleanup)
	return s
}

// Restart runs the server on its data directory and ports and waits until it
// is healthy. A process that still runs is a mistake of the test.
func (s *Server) Restart() {
	s.t.Helper()
	s.Run()
	s.WaitReady()
}

// Run is Restart without the wait: a member without a quorum is not healthy.
func (s *Server) Run() {
	s.t.Helper()
	if s.Running() {
		s.t.Fatalf("harness: %s runs already", s.opts.Name)
	}
	command := append([]string{s.bin}, s.args()...)
	if s.opts.On != nil {
		command = s.opts.On.command(command)
	}
	p, err := startProcess(command[0], command[1:], s.environ(), s.logPath)
	if err != nil {
		s.t.Fatalf("harness: start %s: %v", s.opts.Name, err)
	}
	s.proc = p
}

// WaitReady waits until /health answers that the server is healthy.
func (s *Server) WaitReady() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.ReadyWithin)
	defer cancel()
	for {
		healthy, last := s.healthy(ctx)
		select {
		case <-s.proc.exited:
			s.t.Fatalf("harness: %s ended before it was healthy: %v", s.opts.Name, s.proc.err)
		case <-ctx.Done():
			s.t.Fatalf("harness: %s is not healthy after %v: %s", s.opts.Name, s.opts.ReadyWithin, last)
		case <-time.After(pollEvery):
			if healthy {
				return
			}
		}
	}
}

// healthy asks once; answer is what the server or the connection said.
func (s *Server) healthy(ctx context.Context) (ok bool, answer string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/health", nil)
	if err != nil {
		return false, err.Error()
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.opts.TLS.Clone(), DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return false, err.Error()
	}
	ok = resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"true"`)
	return ok, fmt.Sprintf("%s: %s", resp.Status, body)
}

// Stop sends SIGTERM and waits until the process has ended. A process that
// does not end in time is killed and the test failed.
func (s *Server) Stop() {
	s.t.Helper()
	if !s.Running() {
		return
	}
	s.Signal(syscall.SIGTERM)
	if !s.proc.wait(stopWithin) {
		s.t.Errorf("harness: %s does not end %v after SIGTERM", s.opts.Name, stopWithin)
		s.Kill()
	}
}

// Kill sends SIGKILL and waits until the process is gone.
func (s *Server) Kill() {
	s.t.Helper()
	if !s.Running() {
		return
	}
	s.Signal(syscall.SIGKILL)
	if !s.proc.wait(stopWithin) {
		s.t.Fatalf("harness: %s outlives SIGKILL", s.opts.Name)
	}
}

// Signal sends a signal, such as SIGSTOP and SIGCONT, and does not wait. It
// does nothing when the process has ended.
func (s *Server) Signal(sig syscall.Signal) {
	s.proc.signal(sig)
}

// Running says whether the process is there.
func (s *Server) Running() bool {
	return s.proc != nil && !s.proc.ended()
}

// Exited is closed when the process of the last Restart has ended.
func (s *Server) Exited() <-chan struct{} { return s.proc.exited }

// PID returns the process id of the last Restart.
func (s *Server) PID() int { return s.proc.cmd.Process.Pid }

// WithArgs adds flags to the next run, and returns the server.
func (s *Server) WithArgs(args ...string) *Server {
	s.opts.Args = append(append([]string{}, s.opts.Args...), args...)
	return s
}

// Expect says that the process has ended by itself, as it should have, with an
// exit code; the test fails if that is not so.
func (s *Server) Expect(code int) {
	s.t.Helper()
	if !s.proc.ended() || s.proc.cmd.ProcessState.ExitCode() != code {
		s.t.Errorf("harness: %s should have ended with exit code %d", s.opts.Name, code)
	}
	s.proc.asked.Store(true)
}

// Name returns the member's name.
func (s *Server) Name() string { return s.opts.Name }

// Kind returns what the server is.
func (s *Server) Kind() Kind { return s.kind }

// Endpoint returns host:port of the client listener.
func (s *Server) Endpoint() string { return net.JoinHostPort(s.opts.Host, strconv.Itoa(s.clientPort)) }

// URL returns the client listener's URL.
func (s *Server) URL() string {
	if s.opts.TLS != nil {
		return "https://" + s.Endpoint()
	}
	return "http://" + s.Endpoint()
}

// PeerURL returns the peer listener's URL.
func (s *Server) PeerURL() string {
	return s.opts.PeerScheme + "://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.peerPort))
}

// DataDir returns the server's data directory.
func (s *Server) DataDir() string { return s.opts.DataDir }

// Log returns what the server has printed, over all its restarts.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logPath)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(text)
}

func (s *Server) args() []string {
	cluster := s.opts.Cluster
	if cluster == "" {
		cluster = s.opts.Name + "=" + s.PeerURL()
	}
	args := []string{
		"--name=" + s.opts.Name,
		"--data-dir=" + s.opts.DataDir,
		"--listen-client-urls=" + s.URL(),
		"--advertise-client-urls=" + s.URL(),
		"--listen-peer-urls=" + s.PeerURL(),
		"--initial-advertise-peer-urls=" + s.PeerURL(),
		"--initial-cluster=" + cluster,
	}
	return append(args, s.opts.Args...)
}

func (s *Server) environ() []string {
	return append(CleanEnviron(), s.opts.Env...)
}

// CleanEnviron returns the test's environment without the variables that etcd,
// etcdctl and keelson read their flags from.
func CleanEnviron() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "ETCD_") && !strings.HasPrefix(pair, "ETCDCTL_") {
			env = append(env, pair)
		}
	}
	return env
}

func (s *Server) cleanup() {
	if s.proc == nil {
		return
	}
	if s.proc.ended() && !s.proc.signalled() {
		s.t.Errorf("harness: %s ended by itself: %v", s.opts.Name, s.proc.err)
	}
	// What a failed test wants to see is what came before the stop.
	log := s.Log()
	failed := s.t.Failed()
	s.Signal(syscall.SIGCONT)
	s.Stop()
	if !failed && s.t.Failed() {
		log = s.Log()
	}
	if strings.Contains(s.Log(), "WARNING: DATA RACE") {
		s.t.Errorf("harness: %s has a data race", s.opts.Name)
		log = s.Log()
	}
	if s.t.Failed() {
		s.t.Logf("the end of %s's log, without what is usual:\n%s", s.opts.Name, unusual(log))
	}
}

// unusual returns the last lines of a log that are not informative messages: what a
// reader of a test's output looks for is between them.
func unusual(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, `{"level":"info"`) && !strings.HasPrefix(line, `{"level":"debug"`) {
			lines = append(lines, line)
		}
	}
	first, bytes := len(lines), 0
	for first > 0 && bytes+len(lines[first-1]) <= logTailBytes {
		first--
		bytes += len(lines[first])
	}
	return strings.Join(lines[first:], "")
}
