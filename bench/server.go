// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// healthyTimeout bounds a start, a replay of the log of a big store included.
	healthyTimeout = 2 * time.Minute
	// stopTimeout bounds a graceful stop, after which the process is killed.
	stopTimeout = 30 * time.Second
)

// server is a peer that runs.
type server struct {
	peer    *peer
	address string
	// startup is the time from the start of the process until it answered a linearizable read.
	startup time.Duration

	process *exec.Cmd
	exited  chan struct{} // closed when it has
	waitErr error         // of the exit
	log     string        // path of its output
}

// startServer starts p on dataDir and returns when it answers.
func startServer(ctx context.Context, p *peer, dataDir string) (*server, error) {
	client, err := freeAddress()
	if err != nil {
		return nil, err
	}
	member, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &server{
		peer:    p,
		address: client,
		process: exec.Command(p.binary, p.args(dataDir, client, member)...),
		exited:  make(chan struct{}),
		log:     filepath.Join(filepath.Dir(p.binary), p.name+".log"),
	}
	output, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	s.process.Stdout, s.process.Stderr = output, output
	// A server must not outlive this program, nor get the terminal's interrupt before it is stopped.
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := s.awaitHealthy(ctx); err != nil {
		return nil, errors.Join(err, s.stop(), s.logTail())
	}
	s.startup = time.Since(began)
	return s, nil
}

// start starts the process and returns; exited is closed when it has.
func (s *server) start() error {
	started := make(chan error)
	go func() {
		// Pdeathsig comes when the thread that started the process ends, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.process.Start()
		started <- err
		if err == nil {
			s.waitErr = s.process.Wait()
			close(s.exited)
		}
	}()
	return <-started
}

// awaitHealthy returns when the server answers a linearizable read.
func (s *server) awaitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthyTimeout)
	defer cancel()
	go func() {
		select {
		case <-s.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := dial(s.address, 1)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		_, err := c.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte("health")})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not become healthy: %w", s.peer.name, err)
		case <-time.After(time.Millisecond):
		}
	}
}

// stop stops the server, gracefully if it can.
func (s *server) stop() error {
	select {
	case <-s.exited:
		return fmt.Errorf("%s exited by itself: %w", s.peer.name, s.waitErr)
	default:
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	err := fmt.Errorf("%s did not stop within %v", s.peer.name, stopTimeout)
	err = errors.Join(err, s.process.Process.Kill())
	<-s.exited
	return err
}

// logTail returns the end of what the server printed, as an error.
func (s *server) logTail() error {
	const tail = 2000
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	if len(data) > tail {
		data = data[len(data)-tail:]
	}
	return fmt.Errorf("%s printed:\n%s", s.peer.name, bytes.TrimSpace(data))
}
