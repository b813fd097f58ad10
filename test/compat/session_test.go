// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keelson.io/keelson/test/harness"
)

// commandWithin ends a command that hangs.
const commandWithin = 20 * time.Second

// client is an etcdctl.
type client struct {
	version string // as scripts call it
	path    string
}

// session is one script's view of one server.
type session struct {
	ctx     context.Context
	server  *harness.Server
	client  client
	access  access
	vars    map[string]string // ids in hex, and a directory, by name
	running map[string]*background
	ids     []string // old, new, ... for a strings.Replacer
}

func newSession(t *testing.T, c client, kind harness.Kind, m mode) *session {
	t.Helper()
	dir, a := t.TempDir(), m.access(t)
	s := &session{
		ctx: t.Context(), client: c, access: a,
		server:  harness.Start(t, kind, a.server),
		vars:    map[string]string{"DIR": dir},
		running: map[string]*background{},
		ids:     []string{dir, "<dir>"},
	}
	s.server.AwaitStorageVersion(t)
	status, err := s.server.Client(t).Status(t.Context(), s.server.Endpoint())
	if err != nil {
		t.Fatalf("%v: status: %v", kind, err)
	}
	s.ids = append(s.ids, s.server.Endpoint(), "<endpoint>", strings.TrimPrefix(s.server.PeerURL(), "http://"), "<peer>")
	s.vars["MEMBER"] = fmt.Sprintf("%x", status.Header.MemberId)
	s.hide(status.Header.MemberId, "<member>")
	s.hide(status.Header.ClusterId, "<cluster>")
	if m.asRoot() {
		enableAuth(t, s.server)
	}
	t.Cleanup(s.stopAll)
	return s
}

// hide has an id replaced in all that is printed, in hex and in decimal.
func (s *session) hide(id uint64, name string) {
	s.ids = append(s.ids, fmt.Sprintf("%016x", id), name, fmt.Sprintf("%x", id), name, fmt.Sprint(id), name)
}

// result is what a command did, made comparable.
type result struct {
	text string
	code int
}

// run carries out one line of a script.
func (s *session) run(c *command) (result, error) {
	switch c.verb {
	case letLease:
		return s.let(c)
	case startCommand:
		return result{}, s.start(c)
	case awaitLines:
		bg := s.running[c.name]
		if bg == nil {
			return result{}, fmt.Errorf("%q was not started", c.name)
		}
		text, err := bg.await(c.lines)
		return result{text: s.normalize(text)}, err
	case stopCommand:
		return result{}, s.stop(c.name)
	}
	formats := c.formats
	if len(formats) == 0 {
		formats = []string{""}
	}
	var whole result
	for _, format := range formats {
		r, err := s.etcdctl(c, format)
		if err != nil {
			return r, err
		}
		whole.text += r.text
		whole.code = max(whole.code, r.code)
	}
	return whole, nil
}

// etcdctl runs one command to its end.
func (s *session) etcdctl(c *command, format string) (result, error) {
	args := c.args
	if format != "" {
		args = append([]string{"--write-out=" + format}, args...)
	}
	ctx, cancel := context.WithTimeout(s.ctx, commandWithin)
	defer cancel()
	stdout, stderr, code, err := s.exec(ctx, args, c.stdin)
	if err != nil {
		return result{}, err
	}
	if format == "protobuf" {
		if stdout, err = decode(c.args, stdout); err != nil {
			return result{}, err
		}
	}
	text := fmt.Sprintf("%s: exit %d\n%s%s", format, code, stdout, stderr)
	return result{s.normalize(text), code}, nil
}

func (s *session) command(ctx context.Context, args []string) *exec.Cmd {
	expanded := append([]string{"--endpoints=" + s.server.URL()}, s.access.flags...)
	for _, a := range args {
		if a == "$DEST" {
			expanded = append(append(expanded, s.access.dest...), s.server.Endpoint())
			continue
		}
		for name, value := range s.vars {
			a = strings.ReplaceAll(a, "$"+name, value)
		}
		expanded = append(expanded, a)
	}
	cmd := exec.CommandContext(ctx, s.client.path, expanded...)
	cmd.Env = harness.CleanEnviron()
	return cmd
}

func (s *session) exec(ctx context.Context, args []string, stdin string) (stdout, stderr string, code int, err error) {
	cmd := s.command(ctx, args)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		code, err = exit.ExitCode(), nil
	}
	return out.String(), errs.String(), code, err
}

var grantedID = regexp.MustCompile(`lease ([0-9a-f]{16}) granted`)

// let runs a lease grant and remembers the id.
func (s *session) let(c *command) (result, error) {
	ctx, cancel := context.WithTimeout(s.ctx, commandWithin)
	defer cancel()
	stdout, stderr, code, err := s.exec(ctx, c.args, "")
	if err != nil {
		return result{}, err
	}
	m := grantedID.FindStringSubmatch(stdout)
	if m == nil {
		return result{}, fmt.Errorf("no lease was granted: %s%s", stdout, stderr)
	}
	s.vars[c.name] = m[1]
	var id uint64
	if _, err := fmt.Sscanf(m[1], "%x", &id); err != nil {
		return result{}, err
	}
	s.hide(id, "<lease "+c.name+">")
	return result{s.normalize(stdout + stderr), code}, nil
}

// background is a command that prints until it is stopped.
type background struct {
	cmd     *exec.Cmd
	changed chan struct{} // something was printed

	mu  sync.Mutex
	out bytes.Buffer
}

func (b *background) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return b.out.Write(p)
}

// await returns the first lines that were printed, once there are so many.
func (b *background) await(lines int) (string, error) {
	timeout := time.NewTimer(commandWithin)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		got := strings.SplitAfter(b.out.String(), "\n")
		b.mu.Unlock()
		if len(got) > lines {
			return strings.Join(got[:lines], ""), nil
		}
		select {
		case <-b.changed:
		case <-timeout.C:
			return "", fmt.Errorf("%d of %d lines within %v:\n%s", len(got)-1, lines, commandWithin, strings.Join(got, ""))
		}
	}
}

func (s *session) start(c *command) error {
	bg := &background{changed: make(chan struct{}, 1)}
	bg.cmd = s.command(s.ctx, c.args)
	bg.cmd.Stdout, bg.cmd.Stderr = bg, bg
	s.running[c.name] = bg
	if c.stdin == "" {
		return bg.cmd.Start()
	}
	// Its input does not end before the command does.
	stdin, err := bg.cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := bg.cmd.Start(); err != nil {
		return err
	}
	_, err = io.WriteString(stdin, c.stdin)
	return err
}

func (s *session) stop(name string) error {
	bg := s.running[name]
	if bg == nil {
		return fmt.Errorf("%q was not started", name)
	}
	delete(s.running, name)
	if err := bg.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	var exit *exec.ExitError
	if err := bg.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

func (s *session) stopAll() {
	for name := range s.running {
		// The process may be gone already; the context ends it anyway.
		_ = s.stop(name)
	}
}
