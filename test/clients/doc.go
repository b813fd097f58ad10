// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package clients uses servers as others' software does: by the packages that come
// with etcd's Go client (concurrency, leasing, mirror, naming, namespace, ordering,
// snapshot), and by flannel's subnet manager. Each test holds etcd and keelson to
// the same, alone and in a cluster of three, and most kill a member in between.
//
// It is outside of a request's path. The package consists of tests, and of a program
// in a module of its own, see flannel; nothing imports it, and it imports no package
// of keelson but the test harness.
package clients
