// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tailBytes bounds what is read of a log file for an error message.
const tailBytes = 16 << 10

// stopGrace is how long Stop waits after SIGTERM before it sends SIGKILL.
const stopGrace = 10 * time.Second

// Spec says what to run.
type Spec struct {
	Name    string   // for messages, e.g. "kube-apiserver"
	Binary  string   // path of the program
	Args    []string // without the program's name
	Dir     string   // working directory; empty: the parent's
	LogPath string   // stdout and stderr are appended to this file
}

// Process is a running or finished child. All methods may be called from any
// goroutine.
type Process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the child was reaped
	waitErr error         // valid once done is closed
}

// Start runs spec in a new process group. The caller ends it with Stop or Kill.
func Start(spec Spec) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(spec.LogPath), 0o755); err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the child has its own descriptor

	cmd := exec.Command(spec.Binary, spec.Args...)
	cmd.Dir = spec.Dir
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes()
	if err := startOnLastingThread(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{name: spec.Name, logPath: spec.LogPath, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.waitErr = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Name is the name given in the Spec.
func (p *Process) Name() string { return p.name }

// PID is the process id, also after the child has ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the child has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Exited describes the end of a child that should have gone on, with the tail
// of its log; nil while it runs.
func (p *Process) Exited() error {
	if p.Running() {
		return nil
	}
	how := "exit status 0"
	if p.waitErr != nil {
		how = p.waitErr.Error()
	}
	return fmt.Errorf("%s ended unexpectedly (%s); last lines of %s:\n%s", p.name, how, p.logPath, p.LogTail(20))
}

// Stop sends SIGTERM and waits; after a grace period, or when ctx is done, the
// whole process group gets SIGKILL. It returns nil when the child is gone.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	return p.Kill()
}

// Kill sends SIGKILL to the process group and waits until the child is reaped.
func (p *Process) Kill() error {
	if !p.Running() {
		return nil
	}
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// LogTail returns at most the last n lines of the log.
func (p *Process) LogTail(n int) string {
	f, err := os.Open(p.logPath)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	buf := make([]byte, min(info.Size(), tailBytes))
	if _, err := f.ReadAt(buf, info.Size()-int64(len(buf))); err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(buf), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// starts hands commands to the one thread that forks. Linux sends the parent
// death signal when the forking *thread* ends, so that thread must live as long
// as the program does.
var (
	starts      = make(chan func())
	startThread sync.Once
)

func startOnLastingThread(cmd *exec.Cmd) error {
	startThread.Do(func() { go lastingThread() })
	result := make(chan error, 1)
	starts <- func() { result <- cmd.Start() }
	return <-result
}
