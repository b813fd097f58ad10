// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Names of the components, which also name their logs.
const (
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

func (c *Cluster) startAPIServer(ctx context.Context) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	c.server = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	args := []string{
		"--etcd-servers=" + strings.Join(c.store.ClientURLs(), ","),
		"--etcd-compaction-interval=" + c.opts.CompactionEvery.String(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[0]),
		"--tls-cert-file=" + c.pki.cert(servingName),
		"--tls-private-key-file=" + c.pki.key(servingName),
		"--client-ca-file=" + c.pki.cert(caName),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.key(serviceAccountName),
		"--service-account-signing-key-file=" + c.pki.key(serviceAccountName),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		// Endpoints may not hold a loopback address, and nobody needs them here.
		"--endpoint-reconciler-type=none",
	}
	if c.opts.Secure {
		args = append(args,
			"--etcd-cafile="+c.pki.cert(caName),
			"--etcd-certfile="+c.pki.cert(storeClientName),
			"--etcd-keyfile="+c.pki.key(storeClientName))
	}
	p, err := c.startComponent(apiServer, c.opts.Kubernetes.APIServer, args...)
	if err != nil {
		return err
	}
	c.kubeconfig = filepath.Join(c.opts.Dir, "kubeconfig")
	if err := writeKubeconfig(c.kubeconfig, c.server, c.pki, adminIdentity); err != nil {
		return err
	}
	if c.config, err = restConfig(c.kubeconfig); err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return err
	}
	return await(ctx, "waiting for kube-apiserver's /readyz", p, c.Ready)
}

// Ready returns nil when the API server's /readyz is ok, else what it said.
func (c *Cluster) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	body, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	return nil
}

// leaderElection keeps the components' election on, since its Leases are part of
// an idle control plane's writes, but with patience: the store may be stopped
// for a while, and a component that loses its Lease exits.
var leaderElection = []string{
	"--leader-elect=true",
	"--leader-elect-lease-duration=60s",
	"--leader-elect-renew-deadline=40s",
	"--leader-elect-retry-period=2s",
}

func (c *Cluster) startControllerManager(ctx context.Context) error {
	kubeconfig := filepath.Join(c.pki.dir, controllerManagerIdentity.file+".kubeconfig")
	if err := writeKubeconfig(kubeconfig, c.server, c.pki, controllerManagerIdentity); err != nil {
		return err
	}
	if err := c.forgetLeader(ctx, controllerManager); err != nil {
		return err
	}
	p, err := c.startComponent(controllerManager, c.opts.Kubernetes.ControllerManager, append([]string{
		"--kubeconfig=" + kubeconfig,
		"--secure-port=0", // nobody asks it anything
		"--root-ca-file=" + c.pki.cert(caName),
		"--service-account-private-key-file=" + c.pki.key(serviceAccountName),
		"--use-service-account-credentials=true",
		"--kube-api-qps=100",
		"--kube-api-burst=200",
	}, leaderElection...)...)
	if err != nil {
		return err
	}
	// Every namespace gets its ServiceAccount from a controller, and no Pod can
	// be made before.
	return await(ctx, "waiting for the controllers", p, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (c *Cluster) startScheduler(ctx context.Context) error {
	kubeconfig := filepath.Join(c.pki.dir, schedulerIdentity.file+".kubeconfig")
	if err := writeKubeconfig(kubeconfig, c.server, c.pki, schedulerIdentity); err != nil {
		return err
	}
	if err := c.forgetLeader(ctx, scheduler); err != nil {
		return err
	}
	p, err := c.startComponent(scheduler, c.opts.Kubernetes.Scheduler, append([]string{
		"--kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--kube-api-qps=100",
		"--kube-api-burst=200",
	}, leaderElection...)...)
	if err != nil {
		return err
	}
	return await(ctx, "waiting for the scheduler's leadership", p, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		lease, err := c.client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, scheduler, metav1.GetOptions{})
		if err == nil && lease.Spec.HolderIdentity == nil {
			err = errors.New("nobody leads")
		}
		return err
	})
}

// forgetLeader removes the election Lease of an earlier run on the same folder,
// so that nobody waits for a holder that is gone.
func (c *Cluster) forgetLeader(ctx context.Context, name string) error {
	err := c.client.CoordinationV1().Leases(metav1.NamespaceSystem).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
