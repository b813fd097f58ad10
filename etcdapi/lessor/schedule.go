// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lessor

import (
	"container/heap"
	"time"
)

// timer is one entry of a schedule: the lease it is for and when it is due.
type timer struct {
	lease *lease
	due   time.Time
	index int // place in the schedule, -1 when it is in none
}

// schedule is a heap of timers, the earliest first. A lease has at most one
// timer in it, moved by set in O(log n).
type schedule struct{ timers []*timer }

func (s *schedule) Len() int           { return len(s.timers) }
func (s *schedule) Less(i, j int) bool { return s.timers[i].due.Before(s.timers[j].due) }
func (s *schedule) Swap(i, j int) {
	s.timers[i], s.timers[j] = s.timers[j], s.timers[i]
	s.timers[i].index, s.timers[j].index = i, j
}

// Push and Pop serve container/heap only.
func (s *schedule) Push(x any) {
	t := x.(*timer)
	t.index = len(s.timers)
	s.timers = append(s.timers, t)
}

func (s *schedule) Pop() any {
	last := len(s.timers) - 1
	t := s.timers[last]
	s.timers[last] = nil
	s.timers = s.timers[:last]
	t.index = -1
	return t
}

// set makes t due at due.
func (s *schedule) set(t *timer, due time.Time) {
	t.due = due
	if t.index >= 0 {
		heap.Fix(s, t.index)
		return
	}
	heap.Push(s, t)
}

// remove takes t out; nothing happens when it is not in.
func (s *schedule) remove(t *timer) {
	if t.index >= 0 {
		heap.Remove(s, t.index)
	}
}

// first returns the earliest timer, nil when there is none.
func (s *schedule) first() *timer {
	if len(s.timers) == 0 {
		return nil
	}
	return s.timers[0]
}

// clear takes all timers out.
func (s *schedule) clear() {
	for _, t := range s.timers {
		t.index = -1
	}
	clear(s.timers)
	s.timers = s.timers[:0]
}
