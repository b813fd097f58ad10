// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package fakenode stands in for kubelets: it registers Nodes, renews their
// Leases and status as a kubelet does, says of every Pod bound to them that it
// runs, and confirms the deletion of those that are to go. Every step is an API
// call that a kubelet makes; no container is ever started.
//
// Allowed imports: the standard library and client-go.
package fakenode
