// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// registryPrefix is the --etcd-prefix that the suite takes for granted where it looks at the requests of the cache.
const registryPrefix = "/registry"

// cacherOptions say how a cacher differs from the usual one. Zero values: the usual.
type cacherOptions struct {
	codec         runtime.Codec
	transformer   value.Transformer
	prefix        string // --etcd-prefix; empty: one of its own
	clusterScoped bool   // keys without a namespace
	indexed       bool   // indexes by node name and namespace, as kube-apiserver has them for pods
}

// cacherEnv is what a case of the watch cache works with: the delegator that kube-apiserver uses, over a
// cache, over an etcd3 store, over a server.
type cacherEnv struct {
	storage.Interface
	ctx     context.Context
	t       *testing.T
	client  *kubernetes.Client
	options cacherOptions
	codec   runtime.Codec
	seen    *compactionObserver
}

// podCodec is the protobuf codec of example pods.
func podCodec() runtime.Codec {
	serializer := protobuf.NewSerializer(scheme, scheme)
	return codecs.CodecForVersions(serializer, serializer, schema.GroupVersions{examplev1.SchemeGroupVersion}, nil)
}

// newCacherEnv builds a watch cache over a server and waits until it is ready.
func newCacherEnv(t *testing.T, endpoint string, opts cacherOptions) *cacherEnv {
	t.Helper()
	if opts.codec == nil {
		opts.codec = podCodec()
	}
	if opts.transformer == nil {
		opts.transformer = identity.NewEncryptCheckTransformer()
	}
	if opts.prefix == "" {
		opts.prefix = uniquePrefix()
	}
	env := &cacherEnv{
		ctx:     context.Background(),
		t:       t,
		client:  newClient(t, endpoint),
		options: opts,
		codec:   opts.codec,
	}
	env.Interface = env.startCache(t)
	return env
}

// startCache builds a store, a cache over it, and its delegator.
func (e *cacherEnv) startCache(t *testing.T) storage.Interface {
	t.Helper()
	store := newEtcd3Store(t, &storeEnv{
		client:      e.client,
		prefix:      e.options.prefix,
		codec:       e.codec,
		transformer: newSwitchTransformer(e.options.transformer),
	}, etcd3.NewDefaultLeaseManagerConfig())
	// The first list of the cache fails, so that listing again is tested too. A cache that starts by a watch
	// makes no list.
	failing := &storagetesting.StorageInjectingListErrors{Interface: store, Errors: 1}
	if clientfeatures.FeatureGates().Enabled(clientfeatures.WatchListClient) {
		failing.Errors = 0
	}
	e.seen = &compactionObserver{Interface: failing}
	config := cacher.Config{
		Storage:             e.seen,
		Versioner:           storage.APIObjectVersioner{},
		GroupResource:       podsResource,
		EventsHistoryWindow: cacher.DefaultEventFreshDuration,
		ResourcePrefix:      resourcePrefix,
		KeyFunc:             e.options.key,
		GetAttrsFunc:        podAttributes,
		NewFunc:             newPod,
		NewListFunc:         newPodList,
		Codec:               e.codec,
		Clock:               impatientClock{},
	}
	if e.options.indexed {
		config.IndexerFuncs, config.Indexers = podIndexers()
	}
	watchCache, err := cacher.NewCacherFromConfig(config)
	if err != nil {
		t.Fatalf("build the watch cache: %v", err)
	}
	t.Cleanup(watchCache.Stop)
	waitFor(e.ctx, t, "the injected list error to be met", func() bool {
		consumed, err := failing.ErrorsConsumed()
		return err == nil && consumed
	})
	if err := watchCache.Wait(e.ctx); err != nil {
		t.Fatalf("wait for the watch cache: %v", err)
	}
	delegator := cacher.NewCacheDelegator(watchCache, failing)
	t.Cleanup(delegator.Stop)
	return delegator
}

// key is where the cache looks for an object.
func (o cacherOptions) key(obj runtime.Object) (string, error) {
	if o.clusterScoped {
		return storage.NoNamespaceKeyFunc(resourcePrefix, obj)
	}
	return storage.NamespaceKeyFunc(resourcePrefix, obj)
}

// noStoredCheck stands where the suite wants to look at stored objects: the cache stores nothing itself.
func noStoredCheck(context.Context, *testing.T, string) {}

// noCallsCheck stands where the suite wants to count requests: the cache hands pages on.
func noCallsCheck(*testing.T, uint64, uint64) {}

// compact compacts the server and waits until the cache has dropped what it kept of the compacted revisions.
func (e *cacherEnv) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	revision := parseRevision(t, resourceVersion)
	compactAt(ctx, t, e.client.Client, revision)
	if utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) {
		e.seen.waitUntilApplied(ctx, t, revision)
	}
}

// compactAndRestart compacts the server and replaces store and cache by new ones, as a restart of kube-apiserver does. A running
// cache keeps the events that the server has forgotten; a new one cannot.
func (e *cacherEnv) compactAndRestart(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	compactAt(ctx, t, e.client.Client, parseRevision(t, resourceVersion))
	e.Interface = e.startCache(t)
}

// compactionObserver is the store below the cache. It sees when the cache asks for the compacted revision.
type compactionObserver struct {
	storage.Interface
	mu    sync.Mutex
	asked map[int64]int
}

func (o *compactionObserver) CompactRevision() int64 {
	revision := o.Interface.CompactRevision()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked == nil {
		o.asked = map[int64]int{}
	}
	o.asked[revision]++
	return revision
}

// waitUntilApplied waits until the cache has compacted at a revision. It asks and compacts in one loop, so
// that its second question tells that the first answer was acted on.
func (o *compactionObserver) waitUntilApplied(ctx context.Context, t *testing.T, revision int64) {
	t.Helper()
	waitFor(ctx, t, "the watch cache to compact", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.asked[revision] >= 2
	})
}

// impatientClock is the real clock, but that the cache looks for compactions every few milliseconds instead of every
// 15 s. No other timer of the cache is that long.
type impatientClock struct{ clock.RealClock }

func (c impatientClock) NewTimer(d time.Duration) clock.Timer {
	if d >= 15*time.Second {
		return impatientTimer{c.RealClock.NewTimer(compactionPoll)}
	}
	return c.RealClock.NewTimer(d)
}

const compactionPoll = 20 * time.Millisecond

type impatientTimer struct{ clock.Timer }

func (t impatientTimer) Reset(time.Duration) bool { return t.Timer.Reset(compactionPoll) }

// synchronousCreate is a cache whose Create returns when the cache has the object.
type synchronousCreate struct{ storage.Interface }

func (s synchronousCreate) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	if err := s.Interface.Create(ctx, key, obj, out, ttl); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, wait.ForeverTestTimeout, true, func(ctx context.Context) (bool, error) {
		cached := newPod()
		err := s.Interface.Get(ctx, key, storage.GetOptions{ResourceVersion: "0"}, cached)
		if storage.IsNotFound(err) {
			return false, nil
		}
		return apiequality.Semantic.DeepEqual(cached, out), err
	})
}

// podAttributes are what label and field selectors see of a pod.
func podAttributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	pod, ok := obj.(*example.Pod)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no pod", obj)
	}
	return pod.Labels, fields.Set{
		"metadata.name":      pod.Name,
		"metadata.namespace": pod.Namespace,
		"spec.nodeName":      pod.Spec.NodeName,
		"spec.restartPolicy": string(pod.Spec.RestartPolicy),
		"status.phase":       string(pod.Status.Phase),
	}, nil
}

// podIndexers are the indexes that kube-apiserver gives its cache of pods.
func podIndexers() (storage.IndexerFuncs, *cache.Indexers) {
	nodeName := func(obj runtime.Object) string { return obj.(*example.Pod).Spec.NodeName }
	return storage.IndexerFuncs{"spec.nodeName": nodeName}, &cache.Indexers{
		storage.FieldIndex("spec.nodeName"): func(obj any) ([]string, error) {
			return []string{obj.(*example.Pod).Spec.NodeName}, nil
		},
		storage.FieldIndex("metadata.namespace"): func(obj any) ([]string, error) {
			return []string{obj.(*example.Pod).Namespace}, nil
		},
	}
}
