// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane starts a Kubernetes control plane on loopback: a
// datastore (keelson, or etcd for comparison), kube-apiserver,
// kube-controller-manager and kube-scheduler, with keys, certificates and a
// kubeconfig made on the spot. There is no kubelet and no container runtime;
// package fakenode stands in for them, so that Pods are scheduled and run in
// name. With Options.Secure the store wants certificates of everybody, as kubeadm sets
// it up.
//
// Everything of a run is below Options.Dir, and a run may be started again on
// the folder of an earlier one:
//
//	kubeconfig    for kubectl, as an administrator
//	pki/          CA, certificates and keys, the service accounts' key
//	store/        the datastore's data directory
//	logs/         one file a program, appended to
//
// Allowed imports: the standard library, client-go, and proc, binaries and
// fakenode of this module.
package controlplane
