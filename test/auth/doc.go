// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package auth holds real server processes to etcd's authentication and authorisation: every call as users of all sorts,
// tokens of all sorts, users and roles that change meanwhile, restarts and snapshots, with an etcd beside it or in the
// same cluster.
//
// It is outside of a request's path. The package consists of tests; nothing imports it, and it imports no package of
// keelson but the test harness.
package auth
