// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package portmux serves gRPC and HTTP/1 on one port: it looks at the first
// bytes of each connection and hands it to one of two listeners.
//
// Place on the request's path: before it, once a connection. A connection that
// begins with HTTP/2's preface is gRPC's; everything else is HTTP/1's, whose
// server knows how to answer garbage. A secure connection is told apart by what its
// client offered in the handshake, which the caller gives as a function.
//
// Invariant 7: a connection that sends nothing, or does not finish its handshake, is
// closed after a timeout, at most MaxUndecided are looked at at a time (for a further one the one that has
// been silent for longest is closed), and Close leaves nothing behind.
//
// Allowed imports: clockwork and the standard library.
package portmux
