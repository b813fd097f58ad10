// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

// LogKind says where the log of a world's nodes is.
type LogKind int

// The kinds of log. LogAny lets the seed decide.
const (
	LogAny LogKind = iota
	LogSimulated
	LogFiles
)

// MachineKind says what the entries of a world's nodes are applied to.
type MachineKind int

// The kinds of machine. MachineAny lets the seed decide.
const (
	MachineAny MachineKind = iota
	MachineMemory
	MachineSQLite
)

// Options choose a world.
type Options struct {
	// Seed decides everything that the other fields leave open.
	Seed uint64
	// Nodes is how many found the cluster. Default: the seed's choice of 3 and 5.
	Nodes int
	// Log and Machine are the kinds of storage. Default: mostly the simulated ones.
	Log     LogKind
	Machine MachineKind
	// Bug is planted. Default: none.
	Bug Bug
	// Blind leaves out the checkers that look into the nodes' disks, so that an error must show itself by what it does.
	Blind bool
	// Dir is where files go; it is emptied. Required for kinds that need files.
	Dir string
	// Print gets every event of the trace, if set.
	Print func(line string)
}

// Bug is an error built into the simulated surroundings of the log, to see that a checker catches it.
type Bug int

// The bugs that can be planted.
const (
	BugNone             Bug = iota
	BugAckBeforeSync        // raft is told that entries are durable before they are synced
	BugStaleRead            // a linearizable read does not ask the leader
	BugLostEvent            // a watcher misses an event
	BugRepeatedEvent        // a watcher gets an event again
	BugSplitRevision        // a watcher gets one revision in two responses
	BugNodeDependent        // what an entry does depends on the node
	BugMapOrder             // what an entry does depends on the order of a map
	BugUnstamped            // forwarded proposals lose the term they are meant for
	BugNoRecord             // a received snapshot is installed but not recorded in the log
	BugLostVote             // the vote is not saved
	BugUnsyncedVote         // raft is told that a vote is durable before it is synced
	BugEarlyRelease         // the log is let go of before the state machine is durable
	BugForgottenApplied     // the state machine's image says an older applied index than it has
	bugEnd
)

var bugNames = []string{"none", "ack-before-sync", "stale-read", "lost-event", "repeated-event", "split-revision", "node-dependent",
	"map-order", "unstamped", "no-record", "lost-vote", "unsynced-vote", "early-release", "forgotten-applied"}

func (b Bug) String() string { return bugNames[b] }
