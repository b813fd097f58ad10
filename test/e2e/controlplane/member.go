// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keelson.io/keelson/test/e2e/proc"
)

// Member is one process of the store, which keeps its data directory and its
// ports over restarts.
type Member struct {
	kind      StoreKind
	name      string
	binary    string
	dataDir   string
	logPath   string
	clientURL string
	peerURL   string
	// metricsURL is where /health and /metrics are served to anybody: clientURL without TLS.
	metricsURL string
	cluster    string        // all members as name=url,name=url
	args       []string      // beside those of every member
	process    *proc.Process // nil before the first Start
}

func newMember(opts Options, name string, at memberAddress, cluster string) *Member {
	return &Member{
		kind:       opts.Store,
		name:       name,
		binary:     opts.StoreBinary,
		dataDir:    filepath.Join(opts.Dir, "store", name),
		logPath:    filepath.Join(opts.Dir, "logs", string(opts.Store)+"-"+name+".log"),
		clientURL:  at.Client,
		peerURL:    at.Peer,
		metricsURL: cmp.Or(at.Metrics, at.Client),
		cluster:    cluster,
	}
}

// Name is the member's in its cluster.
func (m *Member) Name() string { return m.name }

// ClientURL is where etcd clients are served.
func (m *Member) ClientURL() string { return m.clientURL }

// Process is the process of the last Start.
func (m *Member) Process() *proc.Process { return m.process }

// Start runs the member and waits until /health says so.
func (m *Member) Start(ctx context.Context) error {
	if err := m.run(); err != nil {
		return err
	}
	return m.awaitHealthy(ctx)
}

func (m *Member) run() error {
	args := []string{
		"--name=" + m.name,
		"--data-dir=" + m.dataDir,
		"--listen-client-urls=" + m.clientURL,
		"--advertise-client-urls=" + m.clientURL,
		"--listen-peer-urls=" + m.peerURL,
		"--initial-advertise-peer-urls=" + m.peerURL,
		"--initial-cluster=" + m.cluster,
	}
	if m.metricsURL != m.clientURL {
		args = append(args, "--listen-metrics-urls="+m.metricsURL)
	}
	process, err := proc.Start(proc.Spec{
		Name: m.title(), Binary: m.binary, LogPath: m.logPath, Args: append(args, m.args...),
	})
	if err == nil {
		m.process = process
	}
	return err
}

func (m *Member) title() string { return string(m.kind) + " " + m.name }

func (m *Member) awaitHealthy(ctx context.Context) error {
	return await(ctx, "waiting for "+m.title(), m.process, m.healthy)
}

// Kill ends the member by SIGKILL, as a crash would. Start brings it back.
func (m *Member) Kill() error { return m.process.Kill() }

func (m *Member) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.metricsURL+"/health", nil)
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

// memberAddress is where a member serves clients and other members, as URLs, and /metrics if that is elsewhere.
type memberAddress struct{ Client, Peer, Metrics string }

// ensureAddresses returns the addresses that an earlier run on dir had, or free
// loopback ports for so many members.
func ensureAddresses(dir string, members int, secure bool) ([]memberAddress, error) {
	path := filepath.Join(dir, "store", "addresses.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return newAddresses(path, members, secure)
	}
	if err != nil {
		return nil, err
	}
	var addresses []memberAddress
	if err := json.Unmarshal(data, &addresses); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(addresses) != members {
		return nil, fmt.Errorf("%s is of a store of %d members, not %d", dir, len(addresses), members)
	}
	return addresses, nil
}

func newAddresses(path string, members int, secure bool) ([]memberAddress, error) {
	ports, err := freePorts(3 * members)
	if err != nil {
		return nil, err
	}
	addresses := make([]memberAddress, members)
	for i := range addresses {
		scheme := "http"
		if secure {
			scheme = "https"
			addresses[i].Metrics = fmt.Sprintf("http://127.0.0.1:%d", ports[3*i+2])
		}
		addresses[i].Client = fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[3*i])
		addresses[i].Peer = fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[3*i+1])
	}
	data, err := json.Marshal(addresses)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return addresses, os.WriteFile(path, data, 0o644)
}
