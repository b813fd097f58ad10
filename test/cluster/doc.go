// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster holds real server processes to their promises while they are killed, starved and fed with garbage.
//
// Its clients write down what the server has acknowledged and what its watches have told. After each blow the record is
// compared with what the server then holds: nothing acknowledged is lost or changed, revisions go on
// where they were, the watches resume without a gap or a repeat, and the files on disk are sound or refused by name.
//
// Invariants 1, 3, 4, 5, 7 and 8 of the design are what these tests look at. The package consists of tests; nothing imports it,
// and it imports no package of keelson but the test harness.
package cluster
