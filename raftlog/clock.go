// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import "time"

// Clock is the source of time, so that a simulation can be its own.
type Clock interface {
	Now() time.Time
	// NewTicker returns a ticker that fires every d and drops ticks nobody takes.
	NewTicker(d time.Duration) Ticker
	// NewTimer returns a timer that fires once, after d.
	NewTimer(d time.Duration) Timer
}

// Ticker fires again and again until it is stopped.
type Ticker interface {
	C() <-chan time.Time
	Stop()
}

// Timer fires once unless it is stopped before.
type Timer interface {
	C() <-chan time.Time
	Stop()
}

// SystemClock returns the clock of the machine.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) NewTicker(d time.Duration) Ticker { return systemTicker{time.NewTicker(d)} }

func (systemClock) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

type systemTicker struct{ t *time.Ticker }

func (s systemTicker) C() <-chan time.Time { return s.t.C }
func (s systemTicker) Stop()               { s.t.Stop() }

type systemTimer struct{ t *time.Timer }

func (s systemTimer) C() <-chan time.Time { return s.t.C }
func (s systemTimer) Stop()               { s.t.Stop() }
