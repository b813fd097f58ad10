// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package harness builds the binaries that tests talk to and runs them as real
// processes: keelson from this repository, etcd and its tools from their
// modules, so that a test needs nothing but a Go toolchain.
//
// It is outside of a request's path: test/model, test/compat, test/conformance
// and test/cluster import it, no product package does, and it imports no
// product package either. A server is known to it by its command line only.
//
// What a test may rely on:
//
//   - A binary is built once a test process, into a cache that all test
//     processes of one checkout share under a file lock.
//   - A server's ports are reserved against every other test process and lie
//     outside of the kernel's ephemeral range, so that a server which was killed
//     finds its port free when it comes back.
//   - No server outlives its test, not even when the test process is killed.
//   - A server that dies unasked, or reports a data race, fails its test; the
//     tail of its log is printed with every failure.
//
// Environment: KEELSON_RACE=1 builds keelson with the race detector;
// KEELSON_TEST_CACHE names the cache directory (default: below the system's
// temporary directory).
package harness
