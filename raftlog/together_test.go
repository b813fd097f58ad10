// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// group proposes three entries together and returns their ids.
func group(t *testing.T, l *Log) []uint64 {
	t.Helper()
	first := rand.Uint64() >> 1
	var all []Proposal
	var ids []uint64
	for i := range uint64(3) {
		id := first + i
		all, ids = append(all, Proposal{ID: id, Data: payload(id, fmt.Sprint("value ", id))}), append(ids, id)
	}
	outcomes, err := l.ProposeTogether(testContext(t), all...)
	if err != nil {
		t.Error(err)
		return ids
	}
	for i, o := range outcomes {
		if want := fmt.Sprint("value ", ids[i], "!"); o.Err != nil || o.Value != want {
			t.Errorf("%d. of a group: %v, %v, want %q", i, o.Value, o.Err, want)
		}
	}
	return ids
}

// What is proposed together stands together, wherever it was proposed and whatever is proposed beside it.
func TestProposeTogether(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	c.leader()
	d := c.load(members...)
	var mu sync.Mutex
	var groups [][]uint64
	var proposing sync.WaitGroup
	for _, id := range members {
		proposing.Go(func() {
			for range 30 {
				ids := group(t, c.logs[id])
				mu.Lock()
				groups = append(groups, ids)
				mu.Unlock()
			}
		})
	}
	proposing.Wait()
	want := d.end()
	for _, ids := range groups {
		for _, id := range ids {
			want[id] = fmt.Sprint("value ", id)
		}
	}
	c.equal(want)
	order := c.machines[1].order
	for _, ids := range groups {
		if at := slices.Index(order, ids[0]); at < 0 || !slices.Equal(order[at:min(at+3, len(order))], ids) {
			t.Errorf("the group of %d stands apart", ids[0])
		}
	}
}

// Groups survive the loss of their leader as single proposals do: each entry is applied once.
func TestProposeTogetherSurvivesLeaders(t *testing.T) {
	c := newCluster(t)
	defer c.stopAll()
	c.leader()
	stop := make(chan struct{})
	want := make(map[uint64]string)
	var mu sync.Mutex
	var proposing sync.WaitGroup
	for _, id := range members {
		proposing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ids := group(t, c.logs[id])
				mu.Lock()
				for _, id := range ids {
					want[id] = fmt.Sprint("value ", id)
				}
				mu.Unlock()
			}
		})
	}
	done := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(want)
	}
	for range 3 {
		before := done()
		if err := c.logs[c.leader()].TransferLeadership(testContext(t), 0); err != nil {
			t.Error(err)
		}
		eventually(t, "groups go on", func() bool { return done() > before+30 })
	}
	close(stop)
	proposing.Wait()
	c.equal(want)
}

// Of a group all is taken or nothing, whatever the bounds of a batch.
func TestGroupsAreNotSplit(t *testing.T) {
	p := newProposals(&Options{MaxPendingProposals: 10, MaxPendingBytes: 1 << 20})
	one := func(id uint64, more bool) proposal {
		return proposal{id: id, entry: mustEntry(t, id), more: more, w: waiters.Get().(*waiter)}
	}
	for _, group := range [][]proposal{{one(1, false)}, {one(2, true), one(3, true), one(4, false)}, {one(5, false)}} {
		if err := p.add(group...); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.add(one(6, true), one(5, false)); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("a group with an id that waits: %v", err)
	}
	for _, want := range [][]uint64{{1, 2, 3, 4}, {5}} {
		var got []uint64
		taken := p.take(2, 1<<20, 1)
		for _, q := range taken {
			got = append(got, q.id)
		}
		if !slices.Equal(got, want) {
			t.Errorf("taken: %d, want %d", got, want)
		}
		p.giveBack(taken)
	}
	if p.queued() != 0 || p.pending() != 5 {
		t.Errorf("%d are queued and %d pending", p.queued(), p.pending())
	}
}

func mustEntry(t *testing.T, id uint64) *raftpb.Entry {
	t.Helper()
	e, err := proposalEntry(id, payload(id, "x"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}
