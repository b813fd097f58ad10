// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package peer carries raft's messages and snapshots of the state to the other members of a cluster and back, by
// etcd's own protocol and package (rafthttp: message streams, pipelines, snapshot posts, probing).
//
// On a request's path it lies between the raftlog.Logs of different members:
//
//	Log -> Transport.Send -> (stream or pipeline) -> rafthttp's handler -> Handler.Step -> Log
//	Log -> Transport.SendSnapshot -> (what is the receiver?) -> (post) -> SnapDir/INDEX.snap.db -> Handler.VerifySnapshot -> Handler.Step -> Log
//
// Messages may be lost, but are neither repeated nor changed. A snapshot's content is complete, durable and
// verified before the log hears of it (design, invariant 3); one that is not is deleted, its sender told, and made to
// wait before it sends the next. One in keelson's own form goes only to a member that is known to take it (Kind). From
// the time that the log has heard of it the file is the log's: when it is sent again what is there is neither opened nor
// removed.
//
// All connections are made by one rafthttp.Transport, and by another one after Reconnect: that is how a new CA bundle
// comes to count.
//
// It may import rafthttp and what that is made with, raft, raftlog and zap.
package peer
