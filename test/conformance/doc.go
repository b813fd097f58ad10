// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance runs Kubernetes' own storage tests against a server process.
//
// k8s.io/apiserver exports the tests that its storage.Interface has to pass. Every one of them that
// kube-apiserver's authors run over their etcd3 store, and every one that they run over the watch
// cache, is run here over a client of one real process, so that what passes is the server and not a
// stand-in. The tests share a process and are kept apart by key prefixes; those that count
// revisions, or that need flags, have a process of their own.
//
// The list of functions is not trusted: a test parses the package of the module that is in go.mod,
// and fails for each function that is neither run nor excluded with a reason.
//
// The server is keelson; KEELSON_TEST_SERVER=etcd runs the same tests over etcd, which tells a fault of
// the server from a fault of the tests.
//
// Invariants 4, 5, 6 and 8 of the design are what these tests look at. The package consists of tests;
// nothing imports it, and it imports no package of keelson but the test harness.
package conformance
