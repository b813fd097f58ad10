// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/e2e/controlplane"
)

const (
	storeMembers = 3
	// electionTimeout is the store's default. A follower waits up to twice as long
	// before it stands for election.
	electionTimeout = time.Second
	rolloutReplicas = 20
	// probesAfterwards is how often kubectl runs on after the rollout.
	probesAfterwards = 20
)

// TestLeaderLoss runs a control plane of its own on three members of the store and
// kills the one that leads by SIGKILL while a Deployment rolls out. kubectl, which
// writes and reads all the while, must see no error, and the rollout must end.
// The member comes back and catches up.
func TestLeaderLoss(t *testing.T) {
	cluster := startThreeMembers(t)
	must(t, cluster, "create", "configmap", "probe")
	must(t, cluster, "create", "deployment", "web", "--image=registry.example.com/web:1", fmt.Sprintf("--replicas=%d", rolloutReplicas))
	must(t, cluster, "rollout", "status", "deployment/web", "--timeout=120s")

	probe := startProbe(t, cluster)
	must(t, cluster, "set", "image", "deployment/web", "web=registry.example.com/web:2")
	eventually(t, "the rollout's first new Pods", func() error {
		updated := must(t, cluster, "get", "deployment", "web", "-o", "jsonpath={.status.updatedReplicas}")
		if updated == "" || updated == "0" {
			return fmt.Errorf("%q Pods are updated", updated)
		}
		return nil
	})
	leader, err := cluster.Store().Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Between two requests of kubectl: one that is being carried out by the very
	// process that dies loses its connection, whatever the store.
	probe.between(func() { err = leader.Kill() })
	if err != nil {
		t.Fatal(err)
	}
	must(t, cluster, "rollout", "status", "deployment/web", "--timeout=120s")
	enough := probe.runs() + probesAfterwards
	eventually(t, "more runs of kubectl", func() error {
		if n := probe.runs(); n < enough {
			return fmt.Errorf("%d of %d", n, enough)
		}
		return nil
	})
	probe.stop()
	for _, failure := range probe.failures {
		t.Errorf("kubectl failed beside the loss of the leader: %v", failure)
	}
	t.Logf("%s killed; of %d runs of kubectl the longest took %v, the median %v; two election timeouts are %v",
		leader.Name(), len(probe.took), probe.longest(), probe.median(), 2*electionTimeout)

	if err := leader.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSameRevision(t, cluster)
	for _, p := range cluster.Components() {
		if err := p.Exited(); err != nil {
			t.Errorf("a component did not survive the loss of the leader: %v", err)
		}
	}
}

func startThreeMembers(t *testing.T) *controlplane.Cluster {
	t.Helper()
	opts := env.options
	opts.Dir = filepath.Join(opts.Dir, "three-members")
	opts.Members = storeMembers
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cluster, err := controlplane.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(cluster.LogTails(15))
		}
		if err := cluster.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

// must runs kubectl on a cluster and returns its standard output, trimmed.
func must(t *testing.T, cluster *controlplane.Cluster, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	var stderr strings.Builder
	cmd := kubectlOf(ctx, cluster, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// probe runs kubectl again and again, a write and a read in turn.
type probe struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu sync.Mutex // held while kubectl runs

	// To be read after stop.
	took     []time.Duration
	failures []error
}

func startProbe(t *testing.T, cluster *controlplane.Cluster) *probe {
	ctx, cancel := context.WithCancel(t.Context())
	p := &probe{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for n := 0; ctx.Err() == nil; n++ {
			p.run(ctx, cluster, "patch", "configmap", "probe", "--type=merge", "-p", fmt.Sprintf(`{"data":{"n":"%d"}}`, n))
			p.run(ctx, cluster, "get", "configmap", "probe", "-o", "jsonpath={.data.n}")
		}
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *probe) run(ctx context.Context, cluster *controlplane.Cluster, args ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	out, err := kubectlOf(ctx, cluster, args...).CombinedOutput()
	if ctx.Err() != nil {
		return
	}
	p.took = append(p.took, time.Since(began))
	if err != nil {
		p.failures = append(p.failures, fmt.Errorf("%s: %w\n%s", args[0], err, out))
	}
}

// runs is how often kubectl ran.
func (p *probe) runs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.took)
}

// between calls fn while no kubectl runs.
func (p *probe) between(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

func (p *probe) stop() {
	p.cancel()
	<-p.done
}

func (p *probe) longest() time.Duration { return slices.Max(p.took) }

func (p *probe) median() time.Duration {
	slices.Sort(p.took)
	return p.took[len(p.took)/2]
}

// checkSameRevision waits until all members have the leader's state.
func checkSameRevision(t *testing.T, cluster *controlplane.Cluster) {
	t.Helper()
	clients := make(map[string]*clientv3.Client)
	for _, m := range cluster.Store().Members() {
		clients[m.Name()] = clientOf(t, cluster.Store(), m.ClientURL())
	}
	eventually(t, "the same hash on all members", func() error {
		hashes := make(map[uint32][]string)
		var revision int64
		for name, client := range clients {
			url := client.Endpoints()[0]
			if revision == 0 {
				resp, err := client.Get(t.Context(), "/")
				if err != nil {
					return err
				}
				revision = resp.Header.Revision
			}
			resp, err := client.HashKV(t.Context(), url, revision)
			if err != nil {
				return err
			}
			hashes[resp.Hash] = append(hashes[resp.Hash], name)
		}
		if len(hashes) != 1 {
			return fmt.Errorf("at revision %d: %v", revision, hashes)
		}
		return nil
	})
}
