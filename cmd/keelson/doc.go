// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command keelson is an etcd v3 server whose store is a SQLite database: the
// datastore under a Kubernetes control plane.
//
// It is the top of the import graph and only wires: options.go reads flags and
// environment and file.go etcd's file, config.go checks what they say, identity.go
// finds out who this member is, run.go builds the parts from bottom to top and
// takes them down again, and peers.go joins those that speak to other members.
// listen.go opens listeners, and tls.go secures them. All of a process's life that
// is not in one of these belongs in a package.
//
// A setting is one row in an options_*.go file: its flag, its ETCD_ variable, its
// key in the file, its default, its help and the tests of all these follow from
// it. What it may be is checked in config.go, where every fault is told at once.
//
// Allowed imports: everything of keelson but what links k8s.io.
package main
