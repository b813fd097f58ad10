// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"keelson.io/keelson/test/e2e/proc"
)

// StoreKind names a datastore that can stand under the control plane.
type StoreKind string

// The datastores known here. Both take etcd's flags.
const (
	StoreKeelson StoreKind = "keelson"
	StoreEtcd    StoreKind = "etcd"
)

// Valid returns an error that lists the known kinds if k is none of them.
func (k StoreKind) Valid() error {
	switch k {
	case StoreKeelson, StoreEtcd:
		return nil
	}
	return fmt.Errorf("unknown store %q: want %s or %s", k, StoreKeelson, StoreEtcd)
}

// Datastore is one store process that keeps its data directory and its ports
// over restarts.
type Datastore struct {
	kind      StoreKind
	binary    string
	dataDir   string
	logPath   string
	clientURL string
	peerURL   string
	process   *proc.Process // nil before the first Start
}

func newDatastore(opts Options) (*Datastore, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return &Datastore{
		kind:      opts.Store,
		binary:    opts.StoreBinary,
		dataDir:   filepath.Join(opts.Dir, "store"),
		logPath:   filepath.Join(opts.Dir, "logs", string(opts.Store)+".log"),
		clientURL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		peerURL:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
	}, nil
}

// ClientURL is where etcd clients, /health and /metrics are served.
func (d *Datastore) ClientURL() string { return d.clientURL }

// DataDir is the store's data directory.
func (d *Datastore) DataDir() string { return d.dataDir }

// Process is the process of the last Start.
func (d *Datastore) Process() *proc.Process { return d.process }

// Start runs the store and waits until /health says so.
func (d *Datastore) Start(ctx context.Context) error {
	// Sockets bind to loopback; the peer URL is advertised but nobody dials it.
	process, err := proc.Start(proc.Spec{
		Name:    string(d.kind),
		Binary:  d.binary,
		LogPath: d.logPath,
		Args: []string{
			"--name=e2e",
			"--data-dir=" + d.dataDir,
			"--listen-client-urls=" + d.clientURL,
			"--advertise-client-urls=" + d.clientURL,
			"--listen-peer-urls=" + d.peerURL,
			"--initial-advertise-peer-urls=" + d.peerURL,
			"--initial-cluster=e2e=" + d.peerURL,
		},
	})
	if err != nil {
		return err
	}
	d.process = process
	return await(ctx, "waiting for "+string(d.kind), process, d.healthy)
}

// Kill ends the store by SIGKILL, as a crash would. Start brings it back.
func (d *Datastore) Kill() error { return d.process.Kill() }

// Stop ends the store by SIGTERM.
func (d *Datastore) Stop(ctx context.Context) error { return d.process.Stop(ctx) }

func (d *Datastore) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.clientURL+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var health struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&health); err != nil {
		return fmt.Errorf("/health (%s): %w", resp.Status, err)
	}
	if health.Health != "true" {
		return fmt.Errorf("/health (%s): %s", resp.Status, strings.TrimSpace(health.Reason))
	}
	return nil
}
