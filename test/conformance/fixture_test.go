// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
)

// resourcePrefix is where the suite keeps its pods, below the prefix of each test.
const resourcePrefix = "/pods/"

var (
	scheme        = runtime.NewScheme()
	codecs        = serializer.NewCodecFactory(scheme)
	podsResource  = schema.GroupResource{Resource: "pods"}
	errInjected   = errors.New("injected by the test")
	prefixCounter atomic.Int64
)

func init() {
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(scheme))
	utilruntime.Must(examplev1.AddToScheme(scheme))
}

func newPod() runtime.Object     { return &example.Pod{} }
func newPodList() runtime.Object { return &example.PodList{} }

// uniquePrefix is an --etcd-prefix that no other test of this process uses.
func uniquePrefix() string {
	return fmt.Sprintf("/conformance-%d", prefixCounter.Add(1))
}

// newClient connects to a server with the recorders that the suite counts requests by.
func newClient(t *testing.T, endpoint string) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(clientv3.Config{
		Endpoints: []string{endpoint},
		Logger:    zap.NewNop(),
	})
	if err != nil {
		t.Fatalf("connect to %s: %v", endpoint, err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("close the client: %v", err)
		}
	})
	lists := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, lists)
	client.Kubernetes = lists
	return client
}

// listRecorder is the recorder of list requests that newClient put into the client.
func listRecorder(client *kubernetes.Client) *storagetesting.KubernetesRecorder {
	return client.Kubernetes.(*storagetesting.KubernetesRecorder)
}

// kvRecorder is the recorder of reads that newClient put into the client.
func kvRecorder(client *kubernetes.Client) *storagetesting.KVRecorder {
	return client.KV.(*storagetesting.KVRecorder)
}

// increaseRevision is a write outside of the prefix of any test.
func increaseRevision(client *kubernetes.Client) storagetesting.IncreaseRVFunc {
	return func(ctx context.Context, t *testing.T) int64 {
		t.Helper()
		resp, err := client.KV.Put(ctx, "increase-revision", "")
		if err != nil {
			t.Fatalf("increase the revision: %v", err)
		}
		return resp.Header.Revision
	}
}

// compactAt compacts as kube-apiserver does, by one transaction on compact_rev_key and one Compact.
// The suite counts on exactly one new revision, so the key's version is read before, not guessed.
func compactAt(ctx context.Context, t *testing.T, client *clientv3.Client, revision int64) {
	t.Helper()
	resp, err := client.Get(ctx, "compact_rev_key")
	if err != nil {
		t.Fatalf("read compact_rev_key: %v", err)
	}
	var version int64
	if len(resp.Kvs) > 0 {
		version = resp.Kvs[0].Version
	}
	_, _, compacted, err := etcd3.Compact(ctx, client, version, revision)
	if err != nil {
		t.Fatalf("compact at revision %d: %v", revision, err)
	}
	if compacted != revision {
		t.Fatalf("compacted at revision %d, not at %d", compacted, revision)
	}
}

// switchTransformer is a transformer that a test may exchange while a store uses it.
type switchTransformer struct {
	mu      sync.RWMutex
	current value.Transformer
}

func newSwitchTransformer(initial value.Transformer) *switchTransformer {
	return &switchTransformer{current: initial}
}

func (s *switchTransformer) get() value.Transformer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// swap installs next and returns the function that undoes it.
func (s *switchTransformer) swap(next value.Transformer) (revert func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous := s.current
	s.current = next
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current = previous
	}
}

func (s *switchTransformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	return s.get().TransformFromStorage(ctx, data, dataCtx)
}

func (s *switchTransformer) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	return s.get().TransformToStorage(ctx, data, dataCtx)
}

// failSwitch makes the decoder or the transformer that carries it fail while it is on.
type failSwitch struct{ on atomic.Bool }

func (f *failSwitch) set(on bool) { f.on.Store(on) }

// failingCodec is a codec whose decoding fails on demand.
type failingCodec struct {
	runtime.Codec
	failSwitch
}

func (c *failingCodec) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if c.on.Load() {
		return nil, nil, errInjected
	}
	return c.Codec.Decode(data, defaults, into)
}

// failingTransformer is a transformer whose reading fails on demand.
type failingTransformer struct {
	value.Transformer
	failSwitch
}

func (f *failingTransformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	if f.on.Load() {
		return nil, false, errInjected
	}
	return f.Transformer.TransformFromStorage(ctx, data, dataCtx)
}

// corruptObjectError is the error by which the store marks an object that cannot be read. Its type is not
// exported, so it is taken from the wrapper that produces it.
func corruptObjectError(t *testing.T) error {
	t.Helper()
	failing := &failingTransformer{}
	failing.set(true)
	_, _, err := etcd3.WithCorruptObjErrorHandlingTransformer(failing).TransformFromStorage(t.Context(), nil, nil)
	if !errors.Is(err, errInjected) {
		t.Fatalf("no error of a corrupt object, but %v", err)
	}
	return err
}
