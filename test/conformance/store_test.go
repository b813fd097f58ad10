// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"path"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"

	"k8s.io/apimachinery/pkg/api/apitesting"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/utils/clock"
)

// storedPrefix is what the store's transformer puts before each value, and checks.
const storedPrefix = "conformance!"

// closableStore is what etcd3.New returns.
type closableStore interface {
	storage.Interface
	Close()
}

// storeEnv is what a case of the etcd3 store works with. It satisfies the interfaces by which the suite
// exchanges a store's transformer.
type storeEnv struct {
	storage.Interface
	ctx         context.Context
	t           *testing.T
	client      *kubernetes.Client
	prefix      string
	codec       runtime.Codec
	prefixed    *storagetesting.PrefixTransformer
	transformer *switchTransformer
}

// storeOptions say how a store differs from the usual one. Zero values: the usual.
type storeOptions struct {
	codec       runtime.Codec
	transformer value.Transformer // below the prefix transformer's place; nil: the prefix transformer
	prefix      string            // --etcd-prefix; empty: one of its own
}

// newStoreEnv builds an etcd3 store over a server, as kube-apiserver builds one for pods.
func newStoreEnv(t *testing.T, endpoint string, opts storeOptions) *storeEnv {
	t.Helper()
	if opts.codec == nil {
		opts.codec = apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion)
	}
	if opts.prefix == "" {
		opts.prefix = uniquePrefix()
	}
	prefixed := storagetesting.NewPrefixTransformer([]byte(storedPrefix), false)
	if opts.transformer == nil {
		opts.transformer = prefixed
	}
	env := &storeEnv{
		ctx:         context.Background(),
		t:           t,
		client:      newClient(t, endpoint),
		prefix:      opts.prefix,
		codec:       opts.codec,
		prefixed:    prefixed,
		transformer: newSwitchTransformer(opts.transformer),
	}
	leases := etcd3.NewDefaultLeaseManagerConfig()
	// The suite waits for objects with a time to live; leases that are reused longer than that outlive them.
	leases.ReuseDurationSeconds = 1
	env.Interface = newEtcd3Store(t, env, leases)
	return env
}

// newEtcd3Store calls etcd3.New with the parts of env.
func newEtcd3Store(t *testing.T, env *storeEnv, leases etcd3.LeaseManagerConfig) closableStore {
	t.Helper()
	versioner := storage.APIObjectVersioner{}
	compactor := etcd3.NewCompactor(env.client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	store, err := etcd3.New(env.client, compactor, env.codec, newPod, newPodList, env.prefix, resourcePrefix, podsResource,
		env.transformer, leases, etcd3.NewDefaultDecoder(env.codec, versioner), versioner)
	if err != nil {
		t.Fatalf("build the store: %v", err)
	}
	t.Cleanup(store.Close)
	return store
}

// UpdatePrefixTransformer makes env a storagetesting.InterfaceWithPrefixTransformer.
func (e *storeEnv) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	changed := *e.prefixed
	return e.transformer.swap(modify(&changed))
}

// UpdateTransformer makes env a storagetesting.InterfaceWithTransformerOverride.
func (e *storeEnv) UpdateTransformer(modify storagetesting.TransformerModifier) func() {
	return e.transformer.swap(modify(e.transformer.get()))
}

// withUnsafeDeletion is env with kube-apiserver's wrapper that deletes corrupt objects.
func (e *storeEnv) withUnsafeDeletion() *storeEnv {
	wrapped := *e
	wrapped.Interface = etcd3.NewStoreWithUnsafeCorruptObjectDeletion(e.Interface, podsResource)
	return &wrapped
}

// checkStored says whether a key holds what kube-apiserver promises about stored objects: they decode, and
// carry neither a resource version nor a link of their own.
func (e *storeEnv) checkStored(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	resp, err := e.client.KV.Get(ctx, path.Join(e.prefix, key))
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(resp.Kvs) != 1 {
		t.Fatalf("%s: %d values are stored, want one", key, len(resp.Kvs))
	}
	decoded, err := runtime.Decode(e.codec, resp.Kvs[0].Value[len(storedPrefix):])
	if err != nil {
		t.Fatalf("%s: decode what is stored: %v", key, err)
	}
	pod := decoded.(*example.Pod)
	if pod.ResourceVersion != "" || pod.SelfLink != "" {
		t.Errorf("%s: stored with resource version %q and link %q, want neither", key, pod.ResourceVersion, pod.SelfLink)
	}
}

// compact compacts the server and, where the store watches compactions, waits until it has seen this one.
func (e *storeEnv) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	revision := parseRevision(t, resourceVersion)
	compactAt(ctx, t, e.client.Client, revision)
	if utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) {
		waitFor(ctx, t, "the store to see the compaction", func() bool { return e.CompactRevision() == revision })
	}
}

// keys lists the keys of all pods, for the estimate of their size.
func (e *storeEnv) keys(ctx context.Context) ([]string, error) {
	resp, err := e.client.KV.Get(ctx, e.prefix+resourcePrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

// checkCalls is the suite's bound on the requests that one list may need: page sizes double from the one that was
// asked for, up to the store's own limit, until all objects are read.
func (e *storeEnv) checkCalls(t *testing.T, pageSize, objects uint64) {
	t.Helper()
	const largestPage = 10000
	if reads := e.prefixed.GetReadsAndReset(); reads != objects {
		t.Errorf("%d objects were read, want %d", reads, objects)
	}
	wanted := uint64(1)
	for page, read := pageSize, uint64(1); pageSize != 0 && read < objects; wanted++ {
		page = min(2*page, largestPage)
		read += page
	}
	recorder := kvRecorder(e.client)
	if calls := recorder.GetReadsAndReset() + recorder.GetStreamReadsAndReset(); calls != wanted {
		t.Fatalf("%d requests for %d objects in pages from %d, want %d", calls, objects, pageSize, wanted)
	}
}

func parseRevision(t *testing.T, resourceVersion string) int64 {
	t.Helper()
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatalf("parse %q: %v", resourceVersion, err)
	}
	return int64(revision)
}

// waitFor polls a condition until it holds; the test fails when it does not in time.
func waitFor(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, wait.ForeverTestTimeout, true,
		func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}
