// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package tlsinfo secures connections with the files that etcd's transport.TLSInfo
// names: certificates with their keys, CA bundles, revocation lists. They are read
// from disk again with every connection, so that a new file counts without a
// restart.
//
// Place on the request's path: before it, once a connection. What a TLSInfo means
// is etcd's to say: the rules of versions, cipher suites and whose certificates
// are asked for come out of its ServerConfig.
//
// What holds:
//
//   - A connection is judged by the files as they are when it begins. There are no
//     session tickets, which would carry a judgement over to later ones.
//   - A file that can't be used changes nothing: what was read before stays in
//     use, and the fault is logged once. At the start it is an error.
//   - A connection that was accepted stays: nobody is judged again.
//
// Allowed imports: metrics, etcd's transport package, clockwork, zap. cmd is who
// uses it.
package tlsinfo
