// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package inproc is a gRPC connection to services of this process, without a
// socket: etcd's client talks through it to the services that it is a part of.
//
// # Place on the request's path
//
// Between etcd's services of elections and locks, which are made of requests to
// other services, and those services. Such a request has passed the server's
// interceptors already and meets none here.
//
// # What is promised
//
//   - A method gets the caller's context with all its values: metadata, peer and
//     whatever else says who asks. What may be done is thus decided for the client
//     that asked, as if it had made the request itself.
//   - Messages go through the server's codec, as those on the wire do.
//   - A stream holds one message in each direction at most; who sends more waits.
//
// # Imports
//
// etcdapi/codec, grpc and protobuf.
package inproc
