// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package commandline compares keelson's command line with etcd's: the flags and
// their defaults with those that etcd's own packages declare, so that a new etcd
// fails the test; docs/compatibility.md with what keelson's help says; and what
// processes of both do with the same flags, variables and files.
package commandline
