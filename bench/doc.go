// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures keelson beside its peers and prints a table in markdown. Run it from its own
// folder:
//
//	go run . [-peers etcd,floor,keelson] [-rows regexp] [-rounds 3] [-duration 10s]
//
// The peers are etcd, built from its module at the version that the project requires; keelson, built
// from the work tree; and floor (folder floor), a bare gRPC server that decodes a request, appends its
// value with one sync of the disk a batch, and answers from a map: what no store that does these
// three can go below by much.
//
// Absolute figures drift with the machine and the hour. Ratios within one run hold: so the peers take
// turns, round by round, each as a process of its own on free loopback ports with a data directory of
// its own, and a figure is the median over the rounds; a ratio is the median of the rounds' ratios.
// The client runs on the same machine, with generated stubs and shared connections.
//
// What is counted, for a row with a load:
//
//   - operations in the measured time, after a warm-up, and their latency as a client sees it;
//   - CPU time of the server process and bytes it wrote to disk, divided by operations, until it has
//     come to rest after the load: work that is put off is work;
//   - memory of the server process that is resident when it is at rest.
//
// Rows of three members run a cluster on loopback; the clients' connections are spread over its members, as those
// of kube-apiservers are, and CPU, bytes and memory are those of all members together.
//
// Everything is taken down at the end, also on an interrupt. It needs Linux, for /proc.
//
// This module imports nothing of keelson's: it looks at a server from the outside only.
package main
