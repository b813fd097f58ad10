// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopTimeout bounds a graceful stop, after which the process is killed.
const stopTimeout = 30 * time.Second

// process is a program that was started here.
type process struct {
	cmd     *exec.Cmd
	exited  chan struct{} // closed when it has
	waitErr error         // of the exit
	log     string        // path of its output
}

// startProcess starts a program and returns; exited is closed when it has.
func startProcess(log, binary string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), exited: make(chan struct{}), log: log}
	output, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p.cmd.Stdout, p.cmd.Stderr = output, output
	// It must not outlive this program, nor get the terminal's interrupt before it is stopped.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig comes when the thread that started the process ends, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.waitErr = p.cmd.Wait()
			close(p.exited)
		}
	}()
	return p, <-started
}

// stop stops the process, gracefully if it can.
func (p *process) stop() error {
	select {
	case <-p.exited:
		return fmt.Errorf("exited by itself: %w", p.waitErr)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	err := fmt.Errorf("did not stop within %v", stopTimeout)
	err = errors.Join(err, p.cmd.Process.Kill())
	<-p.exited
	return err
}

// logTail returns the end of what the process printed, as an error.
func (p *process) logTail() error {
	const tail = 2000
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	if len(data) > tail {
		data = data[len(data)-tail:]
	}
	return fmt.Errorf("%s ends with:\n%s", p.log, bytes.TrimSpace(data))
}
