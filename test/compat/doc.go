// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package compat runs scripts of etcdctl commands, of etcdctl 3.7 and of
// Debian's etcdctl 3.4, on a fresh etcd and on a fresh keelson and wants the
// same output and exit status from both: no transcript is kept, etcd itself is
// the reference.
//
// Its scripts are testdata/*.txt, one file a verb, a command a line. Each is run
// over plain connections, with TLS, and as root of a server with authentication:
// see the modes. Those of testdata/auth and testdata/certificates set up users of
// their own, who may do less.
//
//	# a comment
//	put foo bar                 an etcdctl command that succeeds
//	! get ""                    one that fails
//	* get foo                   one for each of the formats simple, json and fields
//	** get foo                  the same and protobuf
//	3.7: get foo --stream       for this version of etcdctl only
//	plain: get foo              for this mode only
//	txn                         standard input are the lines that follow
//	< put a b                   and begin with <
//	let A = lease grant 100     A is the lease's id, to be used as $A
//	start w watch foo --rev 1   runs in the background
//	await w 3                   until it has printed three lines, which are compared
//	stop w                      and ends it
//	make-mirror $DEST           $DEST is the server as a mirror's destination
//	snapshot save $DIR/s        $DIR is a directory, and $MEMBER the member's id
//	restart                     SIGTERM the server and start it again
//
// Arguments are separated by spaces; 'a b' is one argument, and so is "a\n",
// with Go's escapes. What cannot be equal is replaced before the comparison:
// cluster, member and lease ids, addresses, durations, sizes, remaining times.
package compat
