// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"keelson.io/keelson/raftlog"
)

// epoch is what a clock without an offset shows at the beginning.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// clock is one node's: it runs at its own speed and shows its own time. Nothing but the world moves it.
type clock struct {
	world  *World
	offset time.Duration
	speed  float64 // seconds of its own a second
}

func newClock(w *World) *clock {
	c := &clock{world: w, speed: 1}
	c.set()
	return c
}

// set draws speed and time anew: a machine may come back with another idea of the time than it had.
func (c *clock) set() {
	w := c.world
	if w.plan.has(faultClocks) {
		c.offset = w.rng.between(-90*time.Minute, 90*time.Minute)
		c.speed = 0.8 + 0.45*w.rng.Float64()
	}
}

// Now implements raftlog.Clock.
func (c *clock) Now() time.Time {
	return epoch.Add(c.offset + time.Duration(float64(c.world.now)*c.speed))
}

// real returns how long d on this clock takes.
func (c *clock) real(d time.Duration) time.Duration { return time.Duration(float64(d) / c.speed) }

// NewTicker implements raftlog.Clock. A manual log is ticked by the world, so nothing waits for it.
func (c *clock) NewTicker(time.Duration) raftlog.Ticker { return never{} }

// NewTimer implements raftlog.Clock.
func (c *clock) NewTimer(time.Duration) raftlog.Timer { return never{} }

// never is a timer that does not fire.
type never struct{}

func (never) C() <-chan time.Time { return nil }
func (never) Stop()               {}
