// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package rpc calls every method of etcd's gRPC services, with every field of every
// request, on a fresh etcd and on a fresh keelson, and wants the same responses and
// errors from both.
//
// The list of methods, fields, enum values and errors is not kept by hand: it comes
// from the protobuf descriptors and from the source of etcd's package rpctypes. What
// no script uses, or no server has ever answered, fails the test unless it is in the
// short lists of exceptions, each with its reason.
//
// Its scripts are testdata/*.txt, one file a subject, a call a line:
//
//	# a comment
//	args --max-txn-ops=2            flags of both servers; before anything else
//	Put key:"a" value:"1"           a method and its request, as protobuf's text
//	! Put                           a call that fails
//	save lease ID                   a field of the last response, to be used as $lease
//	login alice secret              keeps the token of a user,
//	as alice: Range key:"a"         for calls by that user
//	open w: Watch                   a stream
//	w> create_request:{key:"a"}     a message to send on it
//	w< 2                            receives two messages
//	w. / w$                         ends the sending / receives all until the end
//	! w$                            which is an error
//	repeat 100: Put key:"a"         a call that is made so often
//	second                          starts the member that was added with $peer2,
//	at two: Range key:"a"           which is asked
//	die                             kills the first member,
//	at two: led: Put key:"a"        for calls without a quorum, here one that requires a leader
//	pause 1500ms                    lets time go by, for leases that run out
//	restart                         SIGTERM the servers and start them again
//
// $self is the server's member id. What can't be equal is replaced before transcripts
// are compared: cluster, member and other ids, terms, sizes, remaining times, tokens.
package rpc
