// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ability is something that a row needs and not every peer has.
type ability uint8

const (
	keyValue ability = iota // put, get, list, count, simple transactions
	watching
	maintaining // defragmentation
	restarting  // a start with the data of the last run
	clustering  // several members
)

// peer is a server to measure.
type peer struct {
	name      string
	binary    string
	abilities []ability
	// build are go's arguments, after `build -o binary`, and the folder to call it in.
	buildPackage, buildDir string
	// args are the arguments for member i of a cluster.
	args func(cluster []place, i int) []string
}

// place is where a member is: its name, its data directory, and the loopback addresses where it serves
// clients and other members.
type place struct{ name, dataDir, client, member string }

func (p *peer) can(a ability) bool { return slices.Contains(p.abilities, a) }

// quotaBytes is above what any row stores.
const quotaBytes = 8 << 30

// etcdArgs are the flags that etcd and keelson share. All else is at its default.
func etcdArgs(cluster []place, i int) []string {
	var all []string
	for _, m := range cluster {
		all = append(all, m.name+"=http://"+m.member)
	}
	m := cluster[i]
	return []string{
		"--name=" + m.name,
		"--data-dir=" + m.dataDir,
		"--listen-client-urls=http://" + m.client,
		"--advertise-client-urls=http://" + m.client,
		"--listen-peer-urls=http://" + m.member,
		"--initial-advertise-peer-urls=http://" + m.member,
		"--initial-cluster=" + strings.Join(all, ","),
		"--quota-backend-bytes=" + strconv.Itoa(quotaBytes),
	}
}

func floorArgs(cluster []place, i int) []string {
	return []string{"-data-dir=" + cluster[i].dataDir, "-listen=" + cluster[i].client}
}

// knownPeers are all there are.
func knownPeers() []*peer {
	everything := []ability{keyValue, watching, maintaining, restarting, clustering}
	return []*peer{
		{name: "etcd", abilities: everything, buildPackage: "go.etcd.io/etcd/server/v3", buildDir: "..", args: etcdArgs},
		{name: "floor", abilities: []ability{keyValue}, buildPackage: "./floor", buildDir: ".", args: floorArgs},
		{name: "keelson", abilities: everything, buildPackage: "./cmd/keelson", buildDir: "..", args: etcdArgs},
	}
}

// buildPeers builds the named peers into dir. Etcd and keelson are built by the project's module,
// whose go.mod says which etcd.
func buildPeers(ctx context.Context, names []string, dir string) ([]*peer, error) {
	var peers []*peer
	for _, name := range names {
		known := knownPeers()
		i := slices.IndexFunc(known, func(p *peer) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer is called %q", name)
		}
		p := known[i]
		p.binary = filepath.Join(dir, p.name)
		build := exec.CommandContext(ctx, "go", "build", "-o", p.binary, p.buildPackage)
		build.Dir = p.buildDir
		if output, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", name, err, output)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// freeAddress returns a loopback address on which nobody listens. Somebody may before it is used; the
// server's start fails then.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// copyDir copies a data directory.
func copyDir(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}
