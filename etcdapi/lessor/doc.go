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
//   - Only the leader of a term proposes anything, for that term alone: a leader
//     that was held up while another took over revokes nothing.
//   - A new leader gives all leases their full time, or what remained of it at the
//     last checkpoint, and an election timeout more, because clients could not
//     renew them while there was no leader.
//   - A process that did not run did not hear its clients: the time is added to
//     all deadlines. Only durations of the own monotonic clock are measured.
//   - A renewal counts from when it arrives, however long the leader takes over
//     it, and no checkpoint from before it outlives its answer.
//   - A lease whose revocation may be in the log is not brought back: its renewal
//     waits for the revocation.
//   - At most RevokeRate revocations a second are proposed, MaxPending at a
//     time (invariant 7).
//
// All time comes from Options.Clock. Allowed imports: metrics, etcd's
// generated messages, clockwork, zap.
package lessor
