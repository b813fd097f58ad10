// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Every piece of work that is put down before asking for the role is seen by a holder, and there is one at most.
func TestRoleLosesNothing(t *testing.T) {
	r := newRole()
	var work, done, holders atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				work.Add(1)
				if !r.acquire() {
					continue
				}
				for {
					if holders.Add(1) != 1 {
						t.Error("two holders")
					}
					done.Add(work.Swap(0))
					holders.Add(-1)
					if r.release() {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if done.Load() != 8*5000 {
		t.Errorf("%d pieces done of %d", done.Load(), 8*5000)
	}
}

func TestRoleClose(t *testing.T) {
	r := newRole()
	if !r.acquire() {
		t.Fatal("an idle role was not to be had")
	}
	closed := r.close()
	if r.acquire() {
		t.Error("a closing role was to be had")
	}
	select {
	case <-closed:
		t.Error("closed while held")
	default:
	}
	if !r.release() {
		t.Error("a closing role was not let go")
	}
	<-closed
	if r.acquire() {
		t.Error("a closed role was to be had")
	}
}
