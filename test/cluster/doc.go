// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster holds real server processes, alone and as members of a cluster, to their promises while they are killed,
// stopped, parted, replaced, starved and fed with garbage.
//
// Its clients write down what the server has acknowledged and what its watches have told. After each blow the record is
// compared with what the server then holds: nothing acknowledged is lost or changed, revisions go on
// where they were, the watches resume without a gap or a repeat, and the files on disk are sound or refused by name.
//
// Clients of all members of a cluster share registers, and porcupine looks for an order of their operations that explains
// all answers. Members are parted by network namespaces, which takes root. What processes can't be brought to, disks that fail
// for a while and clocks that differ among it, package sim does.
//
// Invariants 1, 3, 4, 5, 6, 7 and 8 of the design are what these tests look at. The package consists of tests; nothing imports it,
// and it imports no package of keelson but the test harness.
package cluster
