// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// node is a running flannel.
type node struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Writer
	said   chan string
	subnet string
}

// buildFlannel builds the program of the folder flannel and returns its path.
func buildFlannel(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flannel")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = "flannel"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build flannel: %v\n%s", err, out)
	}
	return path
}

// Nodes take subnets of their own, find each other's, renew them, over the loss of
// the leader too, get them again after a restart, and end when they are taken away.
func useFlannel(t *testing.T, ctx context.Context, c *cluster) {
	client := c.client(t)
	_, err := client.Put(ctx, "/coreos.com/network/config", `{"Network": "10.213.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}`)
	must(t, err)
	program := c.flannel
	a := startNode(t, ctx, program, c, "192.0.2.1")
	b := startNode(t, ctx, program, c, "192.0.2.2")
	a.await("added " + b.subnet + " 192.0.2.2")
	b.await("added " + a.subnet + " 192.0.2.1")
	before := leaseOf(t, ctx, client, b.subnet)
	if ttl, err := client.TimeToLive(ctx, before); err != nil || ttl.GrantedTTL != 24*3600 || ttl.TTL < ttl.GrantedTTL-600 {
		t.Errorf("the lease is %+v: %v", ttl, err)
	}
	c.crash(t, ctx)
	_, err = io.WriteString(b.stdin, "renew\n")
	must(t, err)
	b.await("renewed " + b.subnet)
	a.await("added " + b.subnet)
	if renewed := leaseOf(t, ctx, client, b.subnet); renewed == before {
		t.Error("a renewed subnet has the lease that it had")
	}

	b.kill()
	again := startNode(t, ctx, program, c, "192.0.2.2")
	if again.subnet != b.subnet {
		t.Errorf("a node that had %s gets %s", b.subnet, again.subnet)
	}
	again.await("added " + a.subnet)
	_, err = client.Revoke(ctx, leaseOf(t, ctx, client, a.subnet))
	must(t, err)
	again.await("removed " + a.subnet)
	a.await("lost " + a.subnet)
	if err := a.cmd.Wait(); err == nil {
		t.Error("a node without a subnet ends as if all was well")
	}
	again.kill()
}

// leaseOf is the lease of a subnet's key.
func leaseOf(t *testing.T, ctx context.Context, client *clientv3.Client, subnet string) clientv3.LeaseID {
	t.Helper()
	r, err := client.Get(ctx, "/coreos.com/network/subnets/"+strings.ReplaceAll(subnet, "/", "-"))
	must(t, err)
	if len(r.Kvs) != 1 || r.Kvs[0].Lease == 0 {
		t.Fatalf("the key of %s is %v", subnet, r.Kvs)
	}
	return clientv3.LeaseID(r.Kvs[0].Lease)
}

// startNode runs a node that has an address and takes a subnet.
func startNode(t *testing.T, ctx context.Context, program string, c *cluster, address string) *node {
	t.Helper()
	n := &node{t: t, said: make(chan string, 100)}
	n.cmd = exec.CommandContext(ctx, program, "--endpoints="+strings.Join(c.members.Endpoints(), ","), "--public-ip="+address)
	n.cmd.Env = harness.CleanEnviron()
	var err error
	n.stdin, err = n.cmd.StdinPipe()
	must(t, err)
	stdout, err := n.cmd.StdoutPipe()
	must(t, err)
	must(t, n.cmd.Start())
	go func() {
		defer close(n.said)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			n.said <- lines.Text()
		}
	}()
	words := strings.Fields(n.await("acquired"))
	n.subnet = words[1]
	if words[2] != address || !strings.HasPrefix(n.subnet, "10.213.") || !strings.HasSuffix(n.subnet, "/24") {
		t.Errorf("a node at %s has got %q", address, words)
	}
	return n
}

// await waits for a line that begins like this.
func (n *node) await(begin string) string {
	n.t.Helper()
	for line := range n.said {
		if strings.HasPrefix(line, begin) {
			return line
		}
	}
	n.t.Fatalf("flannel has ended and never said %q", begin)
	return ""
}

func (n *node) kill() {
	n.t.Helper()
	must(n.t, n.cmd.Process.Kill())
	for range n.said {
	}
	// It was killed, which is an error.
	_ = n.cmd.Wait()
}
