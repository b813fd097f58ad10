// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is hand-written protobuf for the messages of etcd's API that every request passes
// through: it decodes KV requests and raft entries, and encodes responses, key-values and events.
//
// # Place on the request's path
//
// etcdapi/codec decodes what clients send and encodes what they get with it; etcdapi wraps a
// request's bytes into a raft entry (AppendInternal); sqlstore decodes entries (UnmarshalInternal),
// keeps values as encoded mvccpb.KeyValue (AppendKeyValue) and hands those bytes, unchanged, to
// responses and events. Nothing here uses reflection, locks, clocks or goroutines, and everything
// is safe for concurrent use as long as its arguments are.
//
// # What is promised
//
//   - An encoder's bytes are those that proto.Marshal gives for etcd's message: fields by number,
//     zero values left out. So HashKV and snapshots come out as etcd's (invariant 2).
//   - A decoder yields what proto.Unmarshal yields, in any field order, with its rules for repeated
//     occurrences: scalars take the last, messages merge, lists append, a oneof keeps the last case.
//     A known field with an unexpected wire type is treated as unknown, as protobuf does. The one
//     difference: unknown fields are checked and dropped, where protobuf keeps them. They stay in the
//     raw bytes, and so in the log.
//   - Decoded bytes fields alias the input, which must not change as long as the message is used.
//   - Malformed input is an error (invariant 8), never a panic. Work and memory are linear in the
//     input's length. After an error the message's content is unspecified.
//   - Messages nest at most 10,000 deep in an entry, protobuf's own bound, and 9,999 deep in a
//     client's request (MaxRequestDepth), so that what a client may send can always be decoded
//     again as part of an entry, here and in etcd. API validation bounds it much lower (by the
//     number of operations); recursion here costs stack, some hundred bytes a level.
//
// # Headers in responses, as etcd's server sets them
//
//   - A top-level response carries all four fields of its header.
//   - The range, put and delete-range responses inside a TxnResponse carry a header with only
//     Revision; for a range in a transaction that writes, the transaction's own revision once
//     something has been written before it.
//   - A nested TxnResponse carries an empty header: present, no field set.
//   - A RangeStream's chunks carry no header, but the last one does; see RangeStreamResponse.
//
// # Imports
//
// etcd's generated structs (etcdserverpb, mvccpb), protowire and, for messages off the hot path,
// proto. Never grpc.
package wire
