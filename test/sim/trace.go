// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// traceTail is how many events a failure shows.
const traceTail = 300

// traceEvent is one decision or result. Formatting waits until somebody reads it.
type traceEvent struct {
	at   time.Duration
	node uint64 // 0: none's
	what string
	args [3]uint64
	note string
}

func (e traceEvent) String() string {
	who := "world"
	if e.node != 0 {
		who = fmt.Sprintf("n%d", e.node)
	}
	return strings.TrimRight(fmt.Sprintf("%12.6f %-5s %-14s %d %d %d %s", e.at.Seconds(), who, e.what, e.args[0], e.args[1], e.args[2], e.note), " ")
}

// trace keeps the end of what happened and a hash over all of it: two runs are the same if their hashes are.
type trace struct {
	ring   [traceTail]traceEvent
	count  uint64
	hash   uint64
	counts map[string]uint64 // of events, by what happened
	// print, if set, gets every event.
	print func(string)
}

func (t *trace) add(e traceEvent) {
	t.ring[t.count%traceTail] = e
	t.count++
	t.counts[e.what]++
	t.hash = mix(t.hash, uint64(e.at), e.node, e.args[0], e.args[1], e.args[2])
	t.hash = mixBytes(t.hash, []byte(e.what))
	t.hash = mixBytes(t.hash, []byte(e.note))
	if t.print != nil {
		t.print(e.String())
	}
}

// tail returns the last events as lines.
func (t *trace) tail() string {
	var b strings.Builder
	first := uint64(0)
	if t.count > traceTail {
		first = t.count - traceTail
	}
	for i := first; i < t.count; i++ {
		b.WriteString(t.ring[i%traceTail].String())
		b.WriteByte('\n')
	}
	return b.String()
}
