// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command cpbench measures what a real control plane costs its datastore: the
// processor time that the store's process uses while objects are created
// through kube-apiserver, while a Deployment is scaled, and while nothing
// happens. Stores run in turn, round by round, each on a fresh control plane,
// and the medians are printed as a Markdown table. Linux only.
//
//	go run ./cmd/cpbench -stores etcd,keelson -rounds 3
package main
