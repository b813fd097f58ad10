// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package security holds real server processes to what TLS promises: who gets in, with which version and cipher suite,
// and who does not, beside etcd with the same flags; new files without a restart; and clusters whose members know
// each other by certificates, with etcds among them.
//
// It is outside of a request's path. The package consists of tests; nothing imports it, and it imports no package of
// keelson but the test harness.
package security
