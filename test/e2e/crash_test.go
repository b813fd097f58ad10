// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	crashObjects = 500
	crashWriters = 8
	crashAfter   = 150 // acknowledged creations before the store is killed
)

// TestStoreCrash kills the store by SIGKILL under kube-apiserver while ConfigMaps
// are created, starts it again, and holds it to what had been acknowledged: every
// object is there with its resourceVersion, a watch that was open tells of every
// object once and in order, and the controllers work on.
func TestStoreCrash(t *testing.T) {
	const namespace = "storm"
	kubectl(t, "create", "namespace", namespace)
	kubectl(t, "create", "deployment", "crew", "-n", namespace, "--image=registry.example.com/crew:1", "--replicas=5")
	kubectl(t, "rollout", "status", "deployment/crew", "-n", namespace, "--timeout=120s")

	watch := watchConfigMaps(t, namespace)
	acked := createThroughCrash(t, namespace)
	t.Logf("all %d creations acknowledged", len(acked))

	checkObjects(t, namespace, acked)
	checkStore(t, namespace, acked)
	watch.check(t, acked)

	newest := createConfigMap(t, namespace, "after-the-storm")
	for name, ack := range acked {
		if ack.revision >= newest {
			t.Fatalf("resource version %d of %s is not below that of a later object, %d", ack.revision, name, newest)
		}
	}
	kubectl(t, "scale", "deployment/crew", "-n", namespace, "--replicas=9")
	kubectl(t, "rollout", "status", "deployment/crew", "-n", namespace, "--timeout=120s")
	for _, p := range env.cluster.Components() {
		if err := p.Exited(); err != nil {
			t.Errorf("a component did not survive the store's crash: %v", err)
		}
	}
	kubectl(t, "delete", "namespace", namespace, "--timeout=90s")
}

// acknowledgement is what the API server answered to a creation.
type acknowledgement struct {
	uid      string
	revision uint64
}

// createThroughCrash creates the ConfigMaps with several writers, kills the store
// when some are acknowledged, and starts it again. Writers repeat a creation
// until it is acknowledged; an attempt that failed may have been carried out all
// the same, and its object then counts with the resource version it has.
func createThroughCrash(t *testing.T, namespace string) map[string]acknowledgement {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	var (
		mu       sync.Mutex
		acked    = make(map[string]acknowledgement)
		failures atomic.Int64
		killNow  = make(chan struct{})
		names    = make(chan string, crashObjects)
		writers  sync.WaitGroup
	)
	for i := range crashObjects {
		names <- fmt.Sprintf("wave-%03d", i)
	}
	close(names)
	for range crashWriters {
		writers.Go(func() {
			for name := range names {
				ack, failed, err := createUntilAcknowledged(ctx, namespace, name)
				failures.Add(int64(failed))
				if err != nil {
					t.Errorf("create %s: %v", name, err)
					return
				}
				mu.Lock()
				acked[name] = ack
				if len(acked) == crashAfter {
					close(killNow)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-killNow:
	case <-ctx.Done():
		t.Fatalf("fewer than %d creations acknowledged in %v", crashAfter, stepTimeout)
	}
	store := env.cluster.Store().Members()[0]
	if err := store.Kill(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	done := len(acked)
	mu.Unlock()
	t.Logf("store killed with %d of %d creations acknowledged", done, crashObjects)
	if done > crashObjects-crashWriters {
		t.Error("the store was not killed under load")
	}
	restarted := time.Now()
	if err := store.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("store healthy %v after its restart", time.Since(restarted).Round(time.Millisecond))
	writers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%d attempts failed", failures.Load())
	return acked
}

// createUntilAcknowledged also returns how many attempts failed.
func createUntilAcknowledged(ctx context.Context, namespace, name string) (acknowledgement, int, error) {
	configMaps := env.cluster.Client().CoreV1().ConfigMaps(namespace)
	for failed := 0; ; failed++ {
		created, err := configMaps.Create(ctx, newConfigMap(name), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) && failed > 0 {
			created, err = configMaps.Get(ctx, name, metav1.GetOptions{})
		}
		if err == nil {
			ack, err := acknowledge(created)
			return ack, failed, err
		}
		select {
		case <-ctx.Done():
			return acknowledgement{}, failed, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Data:       map[string]string{"name": name},
	}
}

func acknowledge(object metav1.Object) (acknowledgement, error) {
	revision, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	return acknowledgement{uid: string(object.GetUID()), revision: revision}, err
}

func createConfigMap(t *testing.T, namespace, name string) (revision uint64) {
	t.Helper()
	ack, _, err := createUntilAcknowledged(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return ack.revision
}

// checkObjects reads every object one by one, past kube-apiserver's watch cache,
// and compares it with what was acknowledged.
func checkObjects(t *testing.T, namespace string, acked map[string]acknowledgement) {
	t.Helper()
	for name, want := range acked {
		object, err := env.cluster.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Errorf("acknowledged object is gone: %v", err)
			continue
		}
		got, err := acknowledge(object)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %+v, acknowledged was %+v", name, got, want)
		}
		if object.Data["name"] != name {
			t.Errorf("%s holds %v", name, object.Data)
		}
	}
}

// checkStore compares the store's own mod revisions with the resource versions.
func checkStore(t *testing.T, namespace string, acked map[string]acknowledgement) {
	t.Helper()
	client := storeClient(t)
	for name, want := range acked {
		key := "/registry/configmaps/" + namespace + "/" + name
		resp, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Kvs) != 1 {
			t.Errorf("%d values of %s in the store, want 1", len(resp.Kvs), key)
			continue
		}
		kv := resp.Kvs[0]
		if uint64(kv.ModRevision) != want.revision || kv.Version != 1 || kv.CreateRevision != kv.ModRevision {
			t.Errorf("%s in the store: created at %d, modified at %d, version %d; want %d, %d, 1",
				key, kv.CreateRevision, kv.ModRevision, kv.Version, want.revision, want.revision)
		}
	}
}
