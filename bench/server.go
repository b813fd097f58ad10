// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// healthyTimeout bounds a start, a replay of the log of a big store included.
const healthyTimeout = 2 * time.Minute

// server is a peer that runs: one process, or one for each member of a cluster.
type server struct {
	peer *peer
	// addresses are where the members serve clients.
	addresses []string
	// startup is the time from the start of the processes until each answered a linearizable read.
	startup time.Duration
	members []*process
}

// startServer starts p with so many members on data directories below dataDir and returns when all answer.
func startServer(ctx context.Context, p *peer, dataDir string, members int) (*server, error) {
	s := &server{peer: p}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	var cluster []place
	for i := range members {
		m, err := newPlace(dataDir, i)
		if err != nil {
			return nil, err
		}
		cluster = append(cluster, m)
		s.addresses = append(s.addresses, m.client)
	}
	began := time.Now()
	for i := range cluster {
		log := filepath.Join(filepath.Dir(p.binary), fmt.Sprintf("%s.%d.log", p.name, i+1))
		m, err := startProcess(log, p.binary, p.args(cluster, i)...)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		s.members = append(s.members, m)
	}
	if err := s.awaitHealthy(ctx); err != nil {
		return nil, errors.Join(err, s.stop(), s.logTail())
	}
	s.startup = time.Since(began)
	return s, nil
}

// newPlace chooses where member i of a cluster is.
func newPlace(dataDir string, i int) (place, error) {
	m := place{name: fmt.Sprintf("bench%d", i+1)}
	m.dataDir = filepath.Join(dataDir, m.name)
	var err error
	if m.client, err = freeAddress(); err == nil {
		m.member, err = freeAddress()
	}
	return m, err
}

// awaitHealthy returns when every member answers a linearizable read.
func (s *server) awaitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthyTimeout)
	defer cancel()
	for i, m := range s.members {
		if err := s.awaitMember(ctx, s.addresses[i], m); err != nil {
			return fmt.Errorf("%s does not become healthy: %w", s.peer.name, err)
		}
	}
	return nil
}

func (s *server) awaitMember(ctx context.Context, address string, m *process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-m.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := dial([]string{address}, 1)
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
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

// usage is what all members together have used and hold.
func (s *server) usage() (usage, error) {
	var all usage
	for _, m := range s.members {
		u, err := m.usage()
		if err != nil {
			return all, err
		}
		all.cpu += u.cpu
		all.writtenBytes += u.writtenBytes
		all.residentBytes += u.residentBytes
	}
	return all, nil
}

// stop stops all members, gracefully if it can.
func (s *server) stop() error {
	var errs []error
	for _, m := range s.members {
		if err := m.stop(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.peer.name, err))
		}
	}
	return errors.Join(errs...)
}

// logTail returns the end of what the members printed, as an error.
func (s *server) logTail() error {
	var errs []error
	for _, m := range s.members {
		errs = append(errs, m.logTail())
	}
	return errors.Join(errs...)
}
