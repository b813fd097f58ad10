// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcdapi is the outermost layer of a keelson server: etcd's v3 API
// over gRPC and etcd's HTTP endpoints, on one port.
//
// Place on the request's path: first and last. A request is decoded (package
// codec), checked, bounded and, when it writes, wrapped as it came into an
// entry that the log orders and the store applies; a read goes to the store,
// after the log has confirmed that the store is recent enough unless the client
// asked for less. Responses come back as encoded bytes and get a header. One
// table, in errors.go, turns every error of the layers below into etcd's gRPC
// code and text; nothing else does.
//
// Beside the request path it holds what etcd's server does on its own:
//
//   - StateMachine adapts the store to what the log applies entries to.
//   - InitialCluster computes the ids of a new cluster's members, as etcd does,
//     or asks the members of one that runs.
//   - Applied changes of membership are followed with connections (Peers), and
//     PeerHandler answers what members ask each other over HTTP, as etcd does.
//   - A Server publishes its own name and URLs and, as leader, the cluster
//     version; and it drives the lessor (package lessor). Only the leader's
//     lessor counts: the others ask it, over HTTP, at the endpoints of etcd.
//   - Users, roles and tokens are package authority's, which the store asks, too.
//   - Members compare their histories, by etcd's hashes: each before it serves,
//     and the leader all the time. One that differs gets the CORRUPT alarm.
//
// Invariants, by their number in the project's design:
//
//	1  A write is answered from its applied result, never earlier.
//	2  Nothing here changes what apply does; StateMachine only converts.
//	6  Every read without `serializable` waits for the log's ReadIndex.
//	7  Bounds: request size, operations a transaction, streams a connection,
//	   client versions that are counted, connections whose first bytes have not
//	   come, snapshots for clients. Watch queues are bounded by the store; a stream that is not read
//	   blocks only itself, its creates included.
//	8  Requests are checked before they are proposed.
//
// Who may call a method at all while authentication is enabled is said in
// permission.go; who may touch a key is asked where it is read, and by apply where it
// is written.
//
// Elections and locks are etcd's own services, over a connection within the
// process (package inproc) that keeps who asks; the JSON gateway is etcd's, too, a
// client of the gRPC server.
//
// All time comes from Options.Clock. Allowed imports: raftlog and its peer
// package, for the names of received snapshots, sqlstore and its packages wire and
// backend, registry, for what Kubernetes can't go without, metrics, etcd's api,
// client and pkg packages and those of its server that need no bbolt (auth, membership,
// elections, locks), grpc and its gateway, OpenTelemetry, prometheus, zap. Nobody but cmd imports
// this package.
package etcdapi
