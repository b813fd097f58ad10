// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

func connect(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() }) // its server may be gone
	return cli
}

// memberIDs are the ids of a cluster's members, by name.
func memberIDs(t *testing.T, endpoint string) map[string]uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	list, err := connect(t, endpoint).MemberList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uint64{}
	for _, m := range list.Members {
		ids[m.Name] = m.ID
	}
	return ids
}

// TestDiscovery has two keelsons and an etcd find each other through a keelson.
func TestDiscovery(t *testing.T) {
	service := harness.Start(t, harness.Keelson, harness.Options{})
	if _, err := connect(t, service.Endpoint()).Put(t.Context(), "/_etcd/registry/token1/_config/size", "3"); err != nil {
		t.Fatal(err)
	}
	flags := func(name, client, peer string) []string {
		return []string{"--name=" + name, "--discovery-endpoints=" + service.Endpoint(), "--discovery-token=token1",
			"--listen-client-urls=http://" + client, "--advertise-client-urls=http://" + client,
			"--listen-peer-urls=http://" + peer, "--initial-advertise-peer-urls=http://" + peer}
	}
	kinds := map[string]harness.Kind{"n1": harness.Keelson, "n2": harness.Etcd, "n3": harness.Keelson}
	clients, members := map[string]string{}, []*raw{}
	var first []string
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		clients[name] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		args := flags(name, clients[name], fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
		if first == nil {
			first = args
		}
		members = append(members, launch(t, kinds[name], args...))
	}
	for _, m := range members {
		m.awaitReady(t)
	}
	for name, endpoint := range clients {
		if ids := memberIDs(t, endpoint); len(ids) != 3 || ids["n1"] == 0 || ids["n2"] == 0 || ids["n3"] == 0 || !maps.Equal(ids, memberIDs(t, clients["n2"])) {
			t.Errorf("%s knows the members %v", name, ids)
		}
	}
	if !answersGRPC(t, clients["n1"]) {
		t.Error("the cluster does not answer")
	}

	// A fourth is told what etcd tells it, and leaves nothing behind.
	late := launch(t, harness.Keelson, flags("n4", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))...)
	<-late.exited
	if !strings.Contains(late.printed.String(), "keelson: failed to join discovery cluster (discovery: cluster is full)\n") {
		t.Errorf("the fourth printed:\n%s", late.printed.String())
	}
	absent(t, late.dataDir)

	// A token that is not known.
	args := slices.Clone(first)
	args[2] = "--discovery-token=other"
	lost := launch(t, harness.Keelson, append(args, fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", harness.FreePort(t)))...)
	<-lost.exited
	if !strings.Contains(lost.printed.String(), "keelson: failed to join discovery cluster (discovery: size key not found)\n") {
		t.Errorf("with another token:\n%s", lost.printed.String())
	}
}
