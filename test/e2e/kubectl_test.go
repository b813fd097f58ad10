// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"keelson.io/keelson/test/e2e/controlplane"
)

// TestKubectl does what a user does in the first hour with a cluster, in the
// order that a reader of the README would.
func TestKubectl(t *testing.T) {
	const namespace = "harbor"
	step := func(name string, fn func(t *testing.T, namespace string)) bool {
		return t.Run(name, func(t *testing.T) { fn(t, namespace) })
	}
	_ = step("namespace", createNamespace) &&
		step("custom resources", customResources) &&
		step("deployment", deployment) &&
		step("server-side apply", serverSideApply) &&
		step("delete namespace", deleteNamespace)
}

func createNamespace(t *testing.T, namespace string) {
	kubectl(t, "create", "namespace", namespace)
	if got := kubectl(t, "get", "namespace", namespace, "-o", "jsonpath={.status.phase}"); got != "Active" {
		t.Errorf("phase %q, want Active", got)
	}
	_, err := tryKubectl(t, "", "create", "namespace", namespace)
	if err == nil || !strings.Contains(err.Error(), "AlreadyExists") {
		t.Errorf("creating it again: %v, want AlreadyExists", err)
	}
}

func customResources(t *testing.T, namespace string) {
	kubectl(t, "apply", "-f", "testdata/crd.yaml")
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/anchors.harbor.example.com")

	const count = 25
	var manifest strings.Builder
	for i := range count {
		fmt.Fprintf(&manifest, anchorManifest, i, i+1)
	}
	if out, err := tryKubectl(t, manifest.String(), "apply", "-n", namespace, "-f", "-"); err != nil {
		t.Fatal(err)
	} else if got := strings.Count(out, " created"); got != count {
		t.Fatalf("%d created, want %d:\n%s", got, count, out)
	}
	// A chunk size makes kubectl page through limit and continue.
	names := kubectl(t, "get", "anchors", "-n", namespace, "--chunk-size=10", "-o", "name")
	if got := len(strings.Fields(names)); got != count {
		t.Errorf("%d listed, want %d:\n%s", got, count, names)
	}
	if got := kubectl(t, "get", "anchor", "a-7", "-n", namespace, "-o", "jsonpath={.spec.weight}"); got != "8" {
		t.Errorf("weight of a-7 is %q, want 8", got)
	}
	if _, err := tryKubectl(t, fmt.Sprintf(anchorManifest, 99, 0), "apply", "-n", namespace, "-f", "-"); err == nil {
		t.Error("an object that breaks its schema was accepted")
	}
	kubectl(t, "patch", "anchor", "a-7", "-n", namespace, "--type=merge", "-p", `{"spec":{"weight":70}}`)
	if got := kubectl(t, "get", "anchor", "a-7", "-n", namespace, "-o", "jsonpath={.spec.weight}"); got != "70" {
		t.Errorf("weight of a-7 is %q after the patch, want 70", got)
	}
	kubectl(t, "delete", "anchor", "a-0", "-n", namespace)
	if _, err := tryKubectl(t, "", "get", "anchor", "a-0", "-n", namespace); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("get of a deleted object: %v, want NotFound", err)
	}
}

const anchorManifest = `---
apiVersion: harbor.example.com/v1
kind: Anchor
metadata:
  name: a-%d
spec:
  weight: %d
`

// deployment watches with kubectl while controllers, scheduler and nodes make
// twenty running Pods of one Deployment.
func deployment(t *testing.T, namespace string) {
	const replicas = 20
	watch := watchPods(t, namespace)
	// The watch is known to be open once it shows a Pod.
	kubectl(t, "run", "lookout", "-n", namespace, "--image=registry.example.com/lookout:1")
	eventually(t, "kubectl get pods -w", func() error {
		if len(watch.statuses()) == 0 {
			return errors.New("shows nothing")
		}
		return nil
	})
	kubectl(t, "create", "deployment", "web", "-n", namespace, "--image=registry.example.com/web:1", fmt.Sprintf("--replicas=%d", replicas))
	kubectl(t, "rollout", "status", "deployment/web", "-n", namespace, "--timeout=120s")

	if got := kubectl(t, "get", "replicasets", "-n", namespace, "-o", "jsonpath={.items[*].status.readyReplicas}"); got != fmt.Sprint(replicas) {
		t.Errorf("ready replicas of the ReplicaSets: %q, want %d", got, replicas)
	}
	names := strings.Fields(kubectl(t, "get", "pods", "-n", namespace, "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(names) != replicas {
		t.Errorf("%d pods, want %d: %v", len(names), replicas, names)
	}
	// Every Pod was seen from its birth to its running, in that order.
	eventually(t, "kubectl get pods -w", func() error {
		seen := watch.statuses()
		for _, name := range names {
			states := seen[name]
			if len(states) < 2 || states[0] != "Pending" || states[len(states)-1] != "Running" {
				return fmt.Errorf("pod %s was seen as %v, want Pending first and Running last", name, states)
			}
		}
		return nil
	})
}

// podWatch collects the lines of kubectl get pods -w.
type podWatch struct {
	mu    sync.Mutex
	lines []string
}

// watchPods runs kubectl get pods -w until the test ends.
func watchPods(t *testing.T, namespace string) *podWatch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := kubectlCommand(ctx, "get", "pods", "-w", "-n", namespace, "--no-headers")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &podWatch{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.collect(stdout)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = cmd.Wait() // killed just now: its status says nothing
	})
	return w
}

func (w *podWatch) collect(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		w.mu.Lock()
		w.lines = append(w.lines, lines.Text())
		w.mu.Unlock()
	}
}

// statuses returns each Pod's STATUS column over time.
func (w *podWatch) statuses() map[string][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := make(map[string][]string)
	for _, line := range w.lines {
		if columns := strings.Fields(line); len(columns) >= 3 { // NAME READY STATUS ...
			seen[columns[0]] = append(seen[columns[0]], columns[2])
		}
	}
	return seen
}

func serverSideApply(t *testing.T, namespace string) {
	const manifest = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: course
data:
  heading: %q
`
	apply := func(heading, manager string, flags ...string) error {
		args := append([]string{"apply", "--server-side", "-n", namespace, "--field-manager=" + manager, "-f", "-"}, flags...)
		_, err := tryKubectl(t, fmt.Sprintf(manifest, heading), args...)
		return err
	}
	if err := apply("north", "pilot"); err != nil {
		t.Fatal(err)
	}
	if err := apply("south", "pilot"); err != nil {
		t.Fatal(err)
	}
	if err := apply("west", "mutineer"); err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("another manager's change: %v, want a conflict", err)
	}
	if got := kubectl(t, "get", "configmap", "course", "-n", namespace, "-o", "jsonpath={.data.heading}"); got != "south" {
		t.Errorf("heading %q after the conflict, want south", got)
	}
	if err := apply("west", "mutineer", "--force-conflicts"); err != nil {
		t.Fatal(err)
	}
	got := kubectl(t, "get", "configmap", "course", "-n", namespace, "--show-managed-fields",
		"-o", "jsonpath={.data.heading} {.metadata.managedFields[*].manager}")
	if got != "west mutineer" {
		t.Errorf("heading and managers %q, want west mutineer", got)
	}
}

// deleteNamespace checks in the store itself that nothing of the namespace is
// left.
func deleteNamespace(t *testing.T, namespace string) {
	kubectl(t, "delete", "namespace", namespace, "--timeout=90s")
	if _, err := tryKubectl(t, "", "get", "namespace", namespace); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("get of the deleted namespace: %v, want NotFound", err)
	}
	for _, key := range storeKeys(t) {
		if strings.Contains(key, "/"+namespace+"/") || strings.HasSuffix(key, "/namespaces/"+namespace) {
			t.Errorf("left in the store: %s", key)
		}
	}
	kubectl(t, "delete", "-f", "testdata/crd.yaml", "--timeout=60s")
}

// storeKeys lists every key of the control plane, past kube-apiserver.
func storeKeys(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	resp, err := storeClient(t).Get(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		t.Fatal("no key below /registry/ in the store")
	}
	keys := make([]string, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		keys[i] = string(kv.Key)
	}
	return keys
}

// storeClient speaks to the shared cluster's datastore itself.
func storeClient(t *testing.T) *clientv3.Client {
	t.Helper()
	store := env.cluster.Store()
	return clientOf(t, store, store.ClientURLs()...)
}

func clientOf(t *testing.T, store *controlplane.Datastore, urls ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: urls,
		TLS:       store.ClientTLS(),
		Logger:    zap.NewNop(), // its retries are not news here
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}
