// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// fault is one kind of trouble. A seed draws which kinds its world has, so that each is also met without the
// noise of all others.
type fault uint32

const (
	faultLoss        fault = 1 << iota // messages get lost
	faultReorder                       // messages are late, out of order, or come twice
	faultPartition                     // groups of members do not hear each other
	faultOneWay                        // one member does not hear another, which hears it
	faultClocks                        // clocks run at different speeds, hours apart
	faultKill                          // processes end; what they wrote is kept
	faultPower                         // power is lost; what was not synced is lost or torn
	faultMidStep                       // crashes between two steps of one call
	faultSlowDisk                      // syncs take long
	faultStall                         // syncs do not return for seconds
	faultDiskErrors                    // writes fail for a while
	faultMembers                       // members are added, promoted and removed
	faultWipe                          // a member's data is gone, and the member is replaced
	faultTransfer                      // leadership is handed over
	faultCutSnapshot                   // snapshots are cut off or lost on their way
	faultCompact                       // history is compacted
	faultEnd
)

var faultNames = []string{"loss", "reorder", "partition", "one-way", "clocks", "kill", "power", "mid-step", "slow-disk",
	"stall", "disk-errors", "members", "wipe", "transfer", "cut-snapshot", "compact"}

func (f fault) String() string {
	var names []string
	for i, name := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// plan is what a seed says about its world before anything happens.
type plan struct {
	seed   uint64
	nodes  int
	faults fault
	bug    Bug
	blind  bool // no checker looks into disks
	files  bool // the log is package raftlog/disk's, in real files
	sqlite bool // the state machine is the real one over SQLite

	length                   time.Duration // of the time with faults
	calm                     time.Duration // between two faults, on average
	clients, watchers, keys  int
	think                    time.Duration // between a client's operations, at most
	minDelay, maxDelay       time.Duration // of messages
	loss, late, twice        float64       // shares of messages, with the fault
	syncTime                 time.Duration // at most, on a healthy disk
	snapshotCount            uint64        // entries
	catchUpBytes             uint64
	segmentBytes             int
	maxBatch                 int // entries
	persistShare, imageShare float64
}

// newPlan draws the world of a seed.
func newPlan(o Options) plan {
	r := newRandom(o.Seed, 0x706c616e)
	p := plan{
		seed: o.Seed, nodes: o.Nodes, bug: o.Bug, blind: o.Blind,
		length:        r.between(10*time.Second, 25*time.Second),
		calm:          r.between(100*time.Millisecond, 1200*time.Millisecond),
		clients:       3 + r.IntN(6),
		watchers:      2 + r.IntN(4),
		keys:          2 + r.IntN(5),
		think:         r.between(20*time.Millisecond, 200*time.Millisecond),
		minDelay:      100 * time.Microsecond,
		maxDelay:      r.between(500*time.Microsecond, 20*time.Millisecond),
		loss:          0.2 * r.Float64() * r.Float64(),
		late:          0.2 * r.Float64(),
		twice:         0.1 * r.Float64(),
		syncTime:      r.between(200*time.Microsecond, 15*time.Millisecond),
		snapshotCount: 10 + r.Uint64N(150),
		catchUpBytes:  200 + r.Uint64N(8000),
		segmentBytes:  1024 + r.IntN(8<<10),
		maxBatch:      1 + r.IntN(64),
		imageShare:    r.Float64(),
	}
	drawn := newRandom(o.Seed, 0x6d697800)
	if p.nodes == 0 {
		p.nodes = pick(drawn, []int{3, 5, 5})
	}
	for f := fault(1); f < faultEnd; f <<= 1 {
		if drawn.chance(0.5) {
			p.faults |= f
		}
	}
	p.faults |= o.Bug.trouble()
	p.files = o.Log == LogFiles || o.Log == LogAny && o.Seed%filesEvery == 0
	p.sqlite = o.Machine == MachineSQLite || o.Machine == MachineAny && o.Seed%sqliteEvery == 0
	if p.sqlite {
		p.faults &^= faultCompact // a store's compaction is the work of a goroutine of its own
	}
	return p
}

// One of filesEvery seeds has its log in real files, one of sqliteEvery its state in SQLite.
const (
	filesEvery  = 6
	sqliteEvery = 15
)

func (p plan) has(f fault) bool { return p.faults&f != 0 }

func (p plan) String() string {
	log, machine := "simulated log", "memory"
	if p.files {
		log = "files"
	}
	if p.sqlite {
		machine = "sqlite"
	}
	return fmt.Sprintf("seed %d: %d nodes, %s, %s, %v, faults %s", p.seed, p.nodes, log, machine, p.length, p.faults)
}
