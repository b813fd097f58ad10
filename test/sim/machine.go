// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"

	"keelson.io/keelson/raftlog"
)

// crashKind is how a node ends.
type crashKind int

const (
	crashProcess crashKind = iota // what was written is kept
	crashPower                    // what was not synced is lost
)

// machine is a node's state machine, with what the world asks of it besides.
type machine interface {
	raftlog.StateMachine
	// outcome tells what the Value of a proposal's Outcome says.
	outcome(value any) outcome
	// read returns what a key holds and the revision of the state that was read.
	read(key string) (item, int64, error)
	// watch opens a stream of events of keys from lo to hi ("" : of the key lo), beginning with revision from.
	watch(lo, hi string, from int64) (stream, error)
	// receive takes the body of a snapshot that is on its way to Restore and checks that it is whole.
	receive(index uint64, body []byte) error
	// hash is over the whole state, and equal on all nodes that applied the same entries.
	hash() (uint64, error)
}

// stream is a watcher of one machine.
type stream interface {
	// next returns the next response: events of whole revisions, or none when there is nothing new. due is the revision
	// of the event that comes next, 0 if there is none. progress is a revision up to which all events were handed out, 0
	// if it isn't known. errCompacted ends the stream.
	next(due int64) (events []watchEvent, progress int64, err error)
	close()
}

var errCompacted = errors.New("the revision has been compacted")

// machineDisk is what a state machine keeps over crashes.
type machineDisk interface {
	// open returns the machine with what is on disk. received is the newest snapshot that the log has recorded: if its
	// body is here and newer, it is put in place first.
	open(n *node, received uint64) (machine, error)
	// crash ends the machine that is open.
	crash(r random, kind crashKind) error
	// durable returns the applied index that a loss of power would leave.
	durable() uint64
	// close ends the machine that is open, if any, and frees what it holds.
	close() error
}
