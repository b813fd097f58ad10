// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command flannel is a node's flanneld without its network devices: flannel's own
// packages take a subnet in etcd, keep it, and watch those of other nodes. It prints
// a line for each that is acquired, added, removed, renewed or lost. A line "renew"
// on its input renews the subnet now, where flanneld does it once a day. It ends
// with its input, or when the subnet is lost.
//
// It is outside of a request's path: the tests of test/clients build and run it. It
// has a module of its own, so that flannel decides which client of etcd it has, and
// nobody else's.
package main
