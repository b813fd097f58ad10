// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package authority decides who may do what: etcd's authentication and
// authorisation, by etcd's own package auth, over the users and roles that the store
// keeps.
//
// Place on the request's path: twice. The API asks who a client is (Info) and
// whether it may read (Read, IsRangePermitted, ...), and puts the answer into the
// entry's header. The store asks again when it applies the entry, because users and
// roles may be others by then; that answer counts. A client whose knowledge of them
// is too old gets ErrAuthOldRevision and authenticates anew.
//
// Users and roles change only by apply and are rows of the entry's batch. Tokens are
// not state of the cluster: a simple token is made by every member when it applies the
// request for it, lives in memory and ends with the process; a JWT carries all in
// itself.
//
// Invariants, by their number in the project's design:
//
//	2  What Permit and Apply decide follows from the entry and the tables. The one
//	   exception is etcd's: a password in plain text, as members before 3.5 wrote it
//	   into entries, is hashed with a random salt. Times and random numbers of tokens
//	   stay outside of the state.
//	7  Requests that wait for a token's entry are bounded (waiter.go).
//
// While authentication is disabled, all of it costs one atomic load.
//
// Allowed imports: sqlstore, etcd's auth and api packages, grpc, zap.
package authority
