// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"keelson.io/keelson/test/e2e/controlplane"
	"keelson.io/keelson/test/e2e/proc"
)

const (
	writers        = 16
	configMapBytes = 1 << 10
	namespace      = "default"

	// settleTime lets what a start or a load left behind (events, status updates,
	// the store's background work) come to rest before a measurement begins.
	settleTime = 10 * time.Second
	pollEvery  = 250 * time.Millisecond
)

// workload is what one round does.
type workload struct {
	configMaps int
	pods       int
	idle       time.Duration
}

// sample is one phase of one round.
type sample struct {
	phase phase
	cpu   time.Duration // of the store's process
	api   time.Duration // of kube-apiserver, for the same work
	wall  time.Duration
	rss   int64 // of the store's process, bytes, at the end
}

type phase int

const (
	phaseConfigMaps phase = iota
	phasePods
	phaseIdle
)

// name says what the phase does, for people.
func (w workload) name(p phase) string {
	switch p {
	case phaseConfigMaps:
		return fmt.Sprintf("create %d ConfigMaps", w.configMaps)
	case phasePods:
		return fmt.Sprintf("scale a Deployment to %d Pods", w.pods)
	default:
		return fmt.Sprintf("%v of an idle control plane", w.idle)
	}
}

// measure runs all phases on a cluster, each from rest.
func (w workload) measure(ctx context.Context, cluster *controlplane.Cluster) ([]sample, error) {
	client := cluster.Client()
	deployment, err := client.AppsV1().Deployments(namespace).Create(ctx, emptyDeployment(), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	steps := []struct {
		phase phase
		run   func() error
	}{
		{phaseConfigMaps, func() error { return createConfigMaps(ctx, client, w.configMaps) }},
		{phasePods, func() error { return scale(ctx, client, deployment.Name, w.pods) }},
		{phaseIdle, func() error { return pause(ctx, w.idle) }},
	}
	var samples []sample
	for _, step := range steps {
		if err := pause(ctx, settleTime); err != nil {
			return nil, err
		}
		s, err := measurePhase(cluster, step.run)
		if err != nil {
			return nil, err
		}
		s.phase = step.phase
		samples = append(samples, s)
	}
	return samples, nil
}

func measurePhase(cluster *controlplane.Cluster, run func() error) (sample, error) {
	store, api := cluster.Store().Members()[0].Process(), cluster.APIServer()
	cpuBefore, err := cpuOf(store, api)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := run(); err != nil {
		return sample{}, err
	}
	wall := time.Since(start)
	cpuAfter, err := cpuOf(store, api)
	if err != nil {
		return sample{}, err
	}
	rss, err := store.RSS()
	return sample{cpu: cpuAfter[0] - cpuBefore[0], api: cpuAfter[1] - cpuBefore[1], wall: wall, rss: rss}, err
}

func cpuOf(processes ...*proc.Process) ([]time.Duration, error) {
	used := make([]time.Duration, len(processes))
	for i, p := range processes {
		var err error
		if used[i], err = p.CPU(); err != nil {
			return nil, err
		}
	}
	return used, nil
}

func createConfigMaps(ctx context.Context, client kubernetes.Interface, count int) error {
	numbers := make(chan int, count)
	for i := range count {
		numbers <- i
	}
	close(numbers)
	payload := strings.Repeat("x", configMapBytes)
	errs := make(chan error, writers)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range numbers {
				_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%05d", i)},
					Data:       map[string]string{"payload": payload},
				}, metav1.CreateOptions{})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func emptyDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": "bench"}
	replicas := int32(0)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "bench", Image: "registry.example.com/bench:1"}}},
			},
		},
	}
}

// scale asks for replicas and waits until all of them are available.
func scale(ctx context.Context, client kubernetes.Interface, name string, replicas int) error {
	deployments := client.AppsV1().Deployments(namespace)
	_, err := deployments.UpdateScale(ctx, name, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
	}, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	for {
		deployment, err := deployments.Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		if int(deployment.Status.AvailableReplicas) == replicas {
			return nil
		}
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("%d of %d replicas available: %w", deployment.Status.AvailableReplicas, replicas, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
