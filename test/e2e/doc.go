// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the tests that put a real Kubernetes control plane on a
// keelson node and drive it as a user does: kubectl for what a user sees,
// client-go for load.
//
// It is a module of its own, because k8s.io/kubernetes must not decide which
// versions the server links. It imports nothing of keelson: the server is a
// process that is built from the repository and spoken to over its ports, so
// that the same tests run over etcd for comparison (KEELSON_E2E_STORE=etcd).
//
// The invariants of docs that are shown here end to end: 1 (acknowledged is
// durable), 4 (revisions never go backwards) and 5 (a watcher sees every event
// once, in order).
//
// Environment:
//
//	KEELSON_E2E_STORE           keelson (default) or etcd
//	KEELSON_E2E_KEELSON_BINARY  a ready-made keelson instead of a fresh build
//	KEELSON_E2E_ETCD_BINARY     likewise for etcd
//	KEELSON_E2E_KUBERNETES      an older minor of Kubernetes, one of the folders of kubernetes
//	KEELSON_E2E_CACHE           where the built control plane is kept between runs
package e2e
