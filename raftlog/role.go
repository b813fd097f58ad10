// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import "sync/atomic"

// role is a job that at most one goroutine does at a time, whichever comes first: the holder looks again
// before it lets go if anybody asked for the job meanwhile, so a request is never lost and nobody waits
// for the role.
type role struct {
	state  atomic.Uint32
	closed chan struct{}
}

const (
	roleIdle uint32 = iota
	roleBusy
	roleAgain   // busy, and the holder must look again
	roleClosing // busy, and nobody may take it afterwards
	roleClosed
)

func newRole() *role { return &role{closed: make(chan struct{})} }

// acquire makes the caller the holder. On false there is a holder, who will see what the caller did
// before the call; or the role is closed.
func (r *role) acquire() bool {
	for {
		switch r.state.Load() {
		case roleIdle:
			if r.state.CompareAndSwap(roleIdle, roleBusy) {
				return true
			}
		case roleBusy:
			if r.state.CompareAndSwap(roleBusy, roleAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// release gives up the caller's role. On false the caller still holds it and must look again.
func (r *role) release() bool {
	for {
		switch r.state.Load() {
		case roleBusy:
			if r.state.CompareAndSwap(roleBusy, roleIdle) {
				return true
			}
		case roleAgain:
			if r.state.CompareAndSwap(roleAgain, roleBusy) {
				return false
			}
		case roleClosing:
			r.state.Store(roleClosed)
			close(r.closed)
			return true
		default:
			// Two goroutines in one role would write or apply the same entries at once.
			panic("raftlog: a role was released by a goroutine that does not hold it")
		}
	}
}

// close lets nobody acquire afterwards and returns a channel that is closed when the last holder has released.
func (r *role) close() <-chan struct{} {
	for {
		switch s := r.state.Load(); s {
		case roleIdle:
			if r.state.CompareAndSwap(roleIdle, roleClosed) {
				close(r.closed)
				return r.closed
			}
		case roleBusy, roleAgain:
			if r.state.CompareAndSwap(s, roleClosing) {
				return r.closed
			}
		default:
			return r.closed
		}
	}
}
