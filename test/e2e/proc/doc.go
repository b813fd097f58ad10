// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package proc runs the programs of a control plane as child processes that
// cannot outlive their parent: each has a process group of its own (a Ctrl-C in
// the terminal reaches only the parent, which then stops its children in
// order), and on Linux the kernel kills it when the parent dies. Output goes to
// a file; its tail is part of every error.
//
// Allowed imports: the standard library only.
package proc
