// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"time"
)

// lateTimeout is its context with a timeout that begins when somebody first
// waits for it. Most reads are let pass without any wait; a timer for each of
// them would be made and stopped for nothing. It serves one goroutine.
type lateTimeout struct {
	context.Context
	timeout time.Duration

	begun  context.Context // nil until somebody waits
	cancel context.CancelFunc
}

// Done implements context.Context.
func (c *lateTimeout) Done() <-chan struct{} {
	if c.begun == nil {
		c.begun, c.cancel = context.WithTimeout(c.Context, c.timeout)
	}
	return c.begun.Done()
}

// Err implements context.Context.
func (c *lateTimeout) Err() error {
	if c.begun == nil {
		return c.Context.Err()
	}
	return c.begun.Err()
}

// stop frees the timer, if there is one.
func (c *lateTimeout) stop() {
	if c.cancel != nil {
		c.cancel()
	}
}
