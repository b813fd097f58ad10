// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package fakenode

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// A kubelet's own intervals.
const (
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
	statusEvery   = 30 // renewals: five minutes
)

// Nodes is a set of fake nodes.
type Nodes struct {
	client kubernetes.Interface
	names  []string
}

// New names count nodes; Register makes them.
func New(client kubernetes.Interface, count int) *Nodes {
	n := &Nodes{client: client}
	for i := range count {
		n.names = append(n.names, fmt.Sprintf("fake-node-%d", i))
	}
	return n
}

// Register creates the Node objects, or takes over those of an earlier run, and
// reports them Ready.
func (n *Nodes) Register(ctx context.Context) error {
	for _, name := range n.names {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"},
		}}
		_, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		if err := n.reportReady(ctx, name); err != nil {
			return err
		}
		if err := n.renewLease(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Schedulable returns nil when every node is Ready and free of taints, which the
// node lifecycle controller takes away.
func (n *Nodes) Schedulable(ctx context.Context) error {
	for _, name := range n.names {
		node, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("node %s is tainted: %s", name, node.Spec.Taints[0].Key)
		}
	}
	return nil
}

// Run keeps the nodes alive and their Pods running until ctx is done. A failed
// call is made again at the next turn, as a kubelet would: the API server may be
// without its store for a while.
func (n *Nodes) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.runPods(ctx)
	}()
	defer func() { <-done }()

	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	for renewals := 1; ; renewals++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range n.names {
			_ = n.renewLease(ctx, name) // again in ten seconds
			if renewals%statusEvery == 0 {
				_ = n.reportReady(ctx, name) // again in five minutes
			}
		}
	}
}

// reportReady writes the node's status.
func (n *Nodes) reportReady(ctx context.Context, name string) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		node, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		capacity := corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("64"),
			corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourcePods:   resource.MustParse("1000"),
		}
		now := metav1.Now()
		node.Status.Capacity, node.Status.Allocatable = capacity, capacity
		node.Status.Conditions = []corev1.NodeCondition{{
			Type:               corev1.NodeReady,
			Status:             corev1.ConditionTrue,
			Reason:             "KubeletReady",
			Message:            "fake node, no kubelet",
			LastHeartbeatTime:  now,
			LastTransitionTime: now,
		}}
		node.Status.NodeInfo.KubeletVersion = "fake"
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

// renewLease creates or renews the node's Lease, the heartbeat that the node
// lifecycle controller watches.
func (n *Nodes) renewLease(ctx context.Context, name string) error {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		lease.Spec.RenewTime = &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	seconds := int32(leaseSeconds)
	_, err = leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}, metav1.CreateOptions{})
	return err
}
