// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package binaries builds what a control plane is made of, from source, with
// the go command alone: kube-apiserver, kube-controller-manager and
// kube-scheduler (and kubectl where none is installed) from the
// k8s.io/kubernetes version in this module's go.mod, keelson from the
// repository, etcd from the version in the repository's go.mod.
//
// A cold build of the control plane takes minutes, so its result is kept in a
// folder that is named by its version, and a folder that is complete is used as
// it is. keelson and etcd are built at each call: the go command's own cache
// makes that quick, and a stale server must never be tested.
//
// Allowed imports: the standard library only.
package binaries
