// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo runs a whole Kubernetes control plane on a keelson node, on
// loopback, until it is interrupted. It needs the go command; kubectl is for
// whoever wants to use the cluster.
package main
