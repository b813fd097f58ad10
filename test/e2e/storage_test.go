// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keelson.io/keelson/test/e2e/promtext"
)

// TestConsistentReads holds the store to what lets kube-apiserver answer a
// consistent list from its watch cache: a version that promises progress
// requests, and progress that arrives. Without them lists fall back to the
// store, and nothing but this metric tells.
func TestConsistentReads(t *testing.T) {
	const (
		lists  = 20
		metric = `apiserver_watch_cache_consistent_read_total`
	)
	before := apiServerSamples(t)
	for i := range lists {
		// Another resource's write moves the store's revision on, so that the Pods'
		// cache is fresh enough only once progress has been told.
		createConfigMap(t, metav1.NamespaceDefault, fmt.Sprintf("progress-%d", i))
		if _, err := env.cluster.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	after := apiServerSamples(t)
	served := func(success, fallback string) float64 {
		labels := map[string]string{"resource": "pods", "success": success, "fallback": fallback}
		return after.Sum(metric, labels) - before.Sum(metric, labels)
	}
	if got := served("true", "false"); got < lists {
		t.Errorf("%v lists of Pods came from the watch cache, want at least %d", got, lists)
	}
	for _, success := range []string{"true", "false"} {
		if got := served(success, "true"); got != 0 {
			t.Errorf("%v lists of Pods fell back to the store (success=%s), want none", got, success)
		}
	}
}

func apiServerSamples(t *testing.T) promtext.Samples {
	t.Helper()
	body, err := env.cluster.Client().Discovery().RESTClient().Get().AbsPath("/metrics").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	samples, err := promtext.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

// TestCompaction waits until kube-apiserver has compacted the store through its
// transaction on compact_rev_key, and asks for what was compacted.
func TestCompaction(t *testing.T) {
	client := storeClient(t)
	eventually(t, "compaction by kube-apiserver", func() error {
		_, err := client.Get(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithCountOnly())
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return nil
		case err != nil:
			return err
		}
		return errors.New("revision 1 is still there")
	})
	resp, err := client.Get(t.Context(), "compact_rev_key")
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 {
		t.Fatalf("%d values of compact_rev_key, want 1", len(resp.Kvs))
	}
	// What lives still reads as before.
	if keys := storeKeys(t); len(keys) == 0 {
		t.Error("no live key after the compaction")
	}
	if err := env.cluster.Ready(t.Context()); err != nil {
		t.Errorf("/readyz: %v", err)
	}
}
