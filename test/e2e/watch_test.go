// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// configMapWatch is a client's watch through kube-apiserver that goes on at the
// last resource version it saw when the API server closes it, and never lists
// again: an answer "too old" is a fault.
type configMapWatch struct {
	namespace string
	cancel    context.CancelFunc
	done      chan struct{}

	mu      sync.Mutex
	added   map[string][]acknowledgement // by name, as told
	last    uint64                       // resource version of the last event
	reopens int
	fault   error // ended the watch
}

// watchConfigMaps opens the watch at the present state; it is open when the
// function returns, and ends with the test.
func watchConfigMaps(t *testing.T, namespace string) *configMapWatch {
	t.Helper()
	list, err := env.cluster.Client().CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := &configMapWatch{namespace: namespace, done: make(chan struct{}), added: make(map[string][]acknowledgement)}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	first, err := w.open(ctx, list.ResourceVersion)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	go w.follow(ctx, first, list.ResourceVersion)
	t.Cleanup(w.stop)
	return w
}

func (w *configMapWatch) stop() {
	w.cancel()
	<-w.done
}

func (w *configMapWatch) open(ctx context.Context, from string) (watch.Interface, error) {
	return env.cluster.Client().CoreV1().ConfigMaps(w.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: from})
}

// follow reads events until the test ends it or a fault makes it pointless.
func (w *configMapWatch) follow(ctx context.Context, current watch.Interface, from string) {
	defer close(w.done)
	for {
		resume, err := w.drain(current, from)
		if err == nil {
			from = resume
			current, err = w.reopen(ctx, from)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.mu.Lock()
			w.fault = err
			w.mu.Unlock()
			return
		}
	}
}

// reopen tries until the API server takes the watch again; it gives up at once
// when history is gone.
func (w *configMapWatch) reopen(ctx context.Context, from string) (watch.Interface, error) {
	w.mu.Lock()
	w.reopens++
	w.mu.Unlock()
	for {
		opened, err := w.open(ctx, from)
		if err == nil || tooOld(err) {
			return opened, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func tooOld(err error) bool { return apierrors.IsGone(err) || apierrors.IsResourceExpired(err) }

// drain takes events until the API server closes the watch, and returns the
// resource version to go on from.
func (w *configMapWatch) drain(current watch.Interface, from string) (string, error) {
	defer current.Stop()
	for event := range current.ResultChan() {
		if event.Type == watch.Error {
			err := apierrors.FromObject(event.Object)
			if tooOld(err) {
				return from, err
			}
			return from, nil // the server's end of a watch it cannot go on with
		}
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			return from, fmt.Errorf("watch told of a %T", event.Object)
		}
		from = object.ResourceVersion
		if err := w.take(event.Type, object); err != nil {
			return from, err
		}
	}
	return from, nil
}

func (w *configMapWatch) take(kind watch.EventType, object *corev1.ConfigMap) error {
	told, err := acknowledge(object)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if told.revision <= w.last {
		return fmt.Errorf("event of %s at %d after one at %d", object.Name, told.revision, w.last)
	}
	w.last = told.revision
	if kind == watch.Added {
		w.added[object.Name] = append(w.added[object.Name], told)
	}
	return nil
}

// check waits until the watch has told of every acknowledged object, and fails
// unless each was told once, with what was acknowledged.
func (w *configMapWatch) check(t *testing.T, acked map[string]acknowledgement) {
	t.Helper()
	eventually(t, "events of all objects", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.fault != nil {
			return nil // told below
		}
		return w.missing(acked)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		t.Fatalf("watch broke: %v", w.fault)
	}
	for name, want := range acked {
		if told := w.added[name]; len(told) != 1 || told[0] != want {
			t.Errorf("watch told of %s as %+v, want once as %+v", name, told, want)
		}
	}
	t.Logf("watch told of %d objects, opened again %d times", len(w.added), w.reopens)
}

func (w *configMapWatch) missing(acked map[string]acknowledgement) error {
	var names []string
	for name := range acked {
		if len(w.added[name]) == 0 {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%d missing: %s", len(names), strings.Join(names[:min(5, len(names))], ", "))
	}
	return nil
}
