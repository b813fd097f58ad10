// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package fakenode

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// podWorkers is how many Pods are reported at once.
const podWorkers = 4

// podRunner moves bound Pods to Running and deleted ones out.
type podRunner struct {
	nodes *Nodes
	cache cache.Store
	queue workqueue.TypedRateLimitingInterface[string] // namespace/name
}

// runPods follows every Pod that is bound to a node until ctx is done.
func (n *Nodes) runPods(ctx context.Context) {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 5*time.Second)
	r := &podRunner{nodes: n, queue: workqueue.NewTypedRateLimitingQueue(limiter)}
	enqueue := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			r.queue.Add(key)
		}
	}
	bound := fields.OneTermNotEqualSelector("spec.nodeName", "")
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(n.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, bound),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    enqueue,
			UpdateFunc: func(_, obj any) { enqueue(obj) },
		},
	})
	r.cache = store

	var workers sync.WaitGroup
	for range podWorkers {
		workers.Go(func() { r.work(ctx) })
	}
	informer.RunWithContext(ctx)
	r.queue.ShutDown()
	workers.Wait()
}

func (r *podRunner) work(ctx context.Context) {
	for {
		key, shutdown := r.queue.Get()
		if shutdown {
			return
		}
		if err := r.sync(ctx, key); err != nil {
			r.queue.AddRateLimited(key)
		} else {
			r.queue.Forget(key)
		}
		r.queue.Done(key)
	}
}

// sync makes the one call that the Pod's state asks of its kubelet, if any. The
// answer comes back as a watch event. A Pod that has changed or gone meanwhile
// needs no retry: its own event follows.
func (r *podRunner) sync(ctx context.Context, key string) error {
	obj, exists, err := r.cache.GetByKey(key)
	if err != nil || !exists {
		return err
	}
	pod := obj.(*corev1.Pod)
	pods := r.nodes.client.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.DeletionTimestamp != nil:
		grace := int64(0) // seconds: the containers have ended
		err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &grace,
			Preconditions:      &metav1.Preconditions{UID: &pod.UID},
		})
	case pod.Status.Phase == corev1.PodPending:
		_, err = pods.UpdateStatus(ctx, r.running(pod), metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// running is the Pod as a kubelet reports it once all containers are up.
func (r *podRunner) running(pod *corev1.Pod) *corev1.Pod {
	now := metav1.Now()
	pod = pod.DeepCopy()
	status := &pod.Status
	status.Phase = corev1.PodRunning
	status.StartTime = &now
	status.HostIP = "127.0.0.1"
	status.PodIP = podIP(pod)
	status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		started := true
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name:    container.Name,
			Image:   container.Image,
			Ready:   true,
			Started: &started,
			State:   corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		setCondition(status, kind, now)
	}
	return pod
}

// setCondition puts or replaces one condition and keeps the others, which are
// the scheduler's.
func setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, now metav1.Time) {
	condition := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now}
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			status.Conditions[i] = condition
			return
		}
	}
	status.Conditions = append(status.Conditions, condition)
}

// podIP is an address that looks like a Pod's and is the same at each report.
func podIP(pod *corev1.Pod) string {
	h := fnv.New32a()
	h.Write([]byte(pod.UID))
	sum := h.Sum32()
	return fmt.Sprintf("10.%d.%d.%d", 128+sum>>16&0x7f, sum>>8&0xff, 1+sum%254)
}
