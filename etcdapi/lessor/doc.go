// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package lessor is the clock-bound half of leases: it knows when a lease of
// the store runs out and asks the log to revoke it.
//
// Place on the request's path: beside it. The store owns the set of leases,
// which only committed entries change (invariant 2); it reports each change
// through Granted, Revoked and Checkpointed. On the leader the lessor puts a deadline to every lease,
// serves renewals, which touch only that deadline and never the log, proposes
// the revocation of what ran out and, every checkpoint interval, the remaining
// time of long leases, so that a change of leader does not start them anew.
// On every other node it only keeps the set.
//
// What holds:
//
//   - A lease is removed by a committed revocation and by nothing else; a
//     lessor that is wrong about the time can delay or propose, not remove.
//   - A new leader extends all leases by the election timeout, because clients
//     could not renew them while there was none.
//   - A renewal that finds its lease run out waits for the revocation instead
//     of bringing it back.
//   - At most RevokeRate revocations a second are proposed, MaxPending at a
//     time (invariant 7).
//
// All time comes from Options.Clock. Allowed imports: metrics, etcd's
// generated messages, clockwork, zap.
package lessor
