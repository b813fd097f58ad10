// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package codec is gRPC's view of sqlstore/wire: a message codec and the KV service's description.
//
// # Place on the request's path
//
// It stands between grpc-go and etcdapi's services. Codec decodes the KV service's requests, and
// encodes wire's responses, by hand; every other message goes through protobuf as in grpc's own
// codec, which it replaces under the same name. It is given to one server with
// grpc.ForceServerCodecV2 and registered nowhere, so clients in the same process are unaffected.
//
// # What is promised
//
//   - The bytes on the wire are those of etcd's generated code, in both directions.
//   - A request of this package owns its bytes, and its fields alias them. They are never from a
//     pool, so they may live on as a part of a raft entry, which is built around them (Put.Entry).
//   - An encoded response is one allocation if it is small, else it lies in a pooled buffer that
//     grpc returns when it is sent. Of a response over 1 MiB, long key-values and events are not
//     copied but referred to until then: encoded key-values and events must never change.
//
// # Imports
//
// sqlstore/wire, etcd's generated structs, grpc and protobuf.
package codec
