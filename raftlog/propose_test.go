// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// openGated opens a log that leads and whose saves wait for the returned storage's gate.
func openGated(t *testing.T, change func(*Options)) (*Log, *testStorage, *machine) {
	t.Helper()
	opts := soloOptions(t.TempDir())
	s, m := newTestStorage(opts.DataDir), newMachine()
	opts.Storage = s
	if change != nil {
		change(&opts)
	}
	l := mustOpen(t, opts, m)
	if err := l.ReadIndex(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.gate, s.saves = make(chan struct{}), nil })
	return l, s, m
}

// Proposals that come while a batch is being synced become the next batch, all of them.
func TestProposalsAreBatched(t *testing.T) {
	l, s, m := openGated(t, nil)
	const n = 200
	var wg sync.WaitGroup
	want := make(map[uint64]string)
	propose := func(id uint64) {
		want[id] = fmt.Sprint("value ", id)
		wg.Go(func() {
			if got, err := l.Propose(testContext(t), id, payload(id, fmt.Sprint("value ", id))); err != nil || got != fmt.Sprintf("value %d!", id) {
				t.Errorf("propose %d: %v, %v", id, got, err)
			}
		})
	}
	propose(1)
	eventually(t, "the first is being saved", func() bool { return l.props.queued() == 0 && l.props.pending() == 1 })
	for id := uint64(2); id <= n; id++ {
		propose(id)
	}
	eventually(t, "the others wait", func() bool { return l.props.queued() == n-1 })
	close(s.gate)
	wg.Wait()
	mustStop(t, l)
	m.has(t, want)
	if !slices.Equal(s.saves[:2], []int{1, n - 1}) {
		t.Errorf("saves have %v entries, want 1 and then %d", s.saves, n-1)
	}
}

func TestBatchIsBounded(t *testing.T) {
	for _, bound := range []func(*Options){
		func(o *Options) { o.MaxBatchEntries = 4 },
		func(o *Options) { o.MaxBatchBytes = 4*108 + 50 },
	} {
		l, s, _ := openGated(t, bound)
		var wg sync.WaitGroup
		propose := func(id uint64) {
			wg.Go(func() {
				if _, err := l.Propose(testContext(t), id, payload(id, string(make([]byte, 100)))); err != nil {
					t.Error(err)
				}
			})
		}
		propose(1)
		eventually(t, "the first is being saved", func() bool { return l.props.queued() == 0 && l.props.pending() == 1 })
		for id := uint64(2); id <= 11; id++ {
			propose(id)
		}
		eventually(t, "the others wait", func() bool { return l.props.queued() == 10 })
		close(s.gate)
		wg.Wait()
		mustStop(t, l)
		if got := s.saves[:4]; !slices.Equal(got, []int{1, 4, 4, 2}) {
			t.Errorf("saves have %v entries, want 1 4 4 2", got)
		}
	}
}

// A proposal whose context ends is given up: before it entered the log for good, afterwards with its outcome open.
func TestProposeCancelled(t *testing.T) {
	l, s, m := openGated(t, nil)
	inLog, cancelInLog := context.WithCancel(testContext(t))
	queued, cancelQueued := context.WithCancel(testContext(t))
	errs := make([]error, 2)
	var wg sync.WaitGroup
	// The first carries itself and so cannot leave before its save ends; the second enters with it or after.
	wg.Go(func() { _, errs[0] = l.Propose(inLog, 1, payload(1, "in the log")) })
	eventually(t, "the first is being saved", func() bool { return l.props.queued() == 0 && l.props.pending() == 1 })
	wg.Go(func() { _, errs[1] = l.Propose(queued, 2, payload(2, "queued")) })
	eventually(t, "the second waits", func() bool { return l.props.queued() == 1 })
	cancelQueued()
	eventually(t, "the second is gone", func() bool { return l.props.queued() == 0 })
	cancelInLog()
	close(s.gate)
	wg.Wait()
	if !errors.Is(errs[1], context.Canceled) {
		t.Errorf("queued proposal: %v, want %v", errs[1], context.Canceled)
	}
	if errs[0] != nil && !errors.Is(errs[0], context.Canceled) {
		t.Errorf("proposal in the log: %v, want nil or %v", errs[0], context.Canceled)
	}
	mustStop(t, l)
	m.has(t, map[uint64]string{1: "in the log"})
	if _, err := l.Propose(testContext(t), 3, payload(3, "late")); !errors.Is(err, ErrStopped) {
		t.Errorf("propose after stop: %v, want %v", err, ErrStopped)
	}
}

func TestProposeLimits(t *testing.T) {
	var failed []error
	var mu sync.Mutex
	l, s, _ := openGated(t, func(o *Options) {
		o.MaxPendingProposals = 2
		o.Events.ProposalFailed = func(err error) {
			mu.Lock()
			failed = append(failed, err)
			mu.Unlock()
		}
	})
	ctx := testContext(t)
	var wg sync.WaitGroup
	for id := uint64(1); id <= 3; id++ {
		wg.Go(func() {
			if _, err := l.Propose(ctx, id, payload(id, "fits")); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "it is on its way", func() bool { return l.props.pending() == int(id) && l.props.queued() == int(id)-1 })
	}
	for _, c := range []struct {
		id   uint64
		data []byte
		want error
	}{
		{4, payload(4, "too many"), ErrTooManyRequests},
		{0, payload(0, "no id"), nil},
		{5, nil, nil},
	} {
		if _, err := l.Propose(ctx, c.id, c.data); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("propose %d with %d bytes: %v, want %v", c.id, len(c.data), err, c.want)
		}
	}
	close(s.gate)
	wg.Wait()
	mustStop(t, l)
	if len(failed) != 3 {
		t.Errorf("%d failures told, want 3: %v", len(failed), failed)
	}
}

func TestDuplicateID(t *testing.T) {
	l, s, _ := openGated(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Propose(testContext(t), 7, payload(7, "first")); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the first is on its way", func() bool { return l.props.pending() == 1 })
	if _, err := l.Propose(testContext(t), 7, payload(7, "second")); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("second: %v, want %v", err, ErrDuplicateID)
	}
	close(s.gate)
	wg.Wait()
	mustStop(t, l)
}

// What is committed and not applied is bounded: proposals are refused beyond it and accepted below.
func TestApplyGap(t *testing.T) {
	opts, m := soloOptions(t.TempDir()), newMachine()
	opts.MaxApplyGap = 3
	m.gate = make(chan struct{})
	l := mustOpen(t, opts, m)
	eventually(t, "it leads", func() bool { return l.Status().Lead })
	ctx := testContext(t)
	var wg sync.WaitGroup
	refused := 0
	for id := uint64(1); refused == 0; id++ {
		if l.Status().CommitIndex > l.Status().AppliedIndex+opts.MaxApplyGap {
			if _, err := l.Propose(ctx, id, payload(id, "too many")); !errors.Is(err, ErrTooManyRequests) {
				t.Fatalf("propose beyond the gap: %v, want %v", err, ErrTooManyRequests)
			}
			refused++
			break
		}
		commit := l.Status().CommitIndex
		wg.Go(func() {
			if _, err := l.Propose(ctx, id, payload(id, "fits")); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "it is committed", func() bool { return l.Status().CommitIndex > commit })
	}
	close(m.gate)
	wg.Wait()
	mustPropose(t, l, 100, "fits again")
	mustStop(t, l)
}

// Many clients with random deadlines: every outcome is right, and nothing is applied that was refused.
func TestProposeConcurrently(t *testing.T) {
	opts, m := soloOptions(t.TempDir()), newMachine()
	l := mustOpen(t, opts, m)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sure, maybe := make(map[uint64]string), make(map[uint64]string)
	for client := range 20 {
		rng := rand.New(rand.NewPCG(1, uint64(client)))
		wg.Go(func() {
			for i := range 100 {
				id, value := uint64(client*1000+i+1), fmt.Sprint(client, " ", i)
				ctx, cancel := context.WithCancel(testContext(t))
				if rng.IntN(10) == 0 {
					go cancel()
				}
				got, err := l.Propose(ctx, id, payload(id, value))
				cancel()
				mu.Lock()
				switch {
				case err == nil && got == value+"!":
					sure[id] = value
				case errors.Is(err, context.Canceled):
					maybe[id] = value
				default:
					t.Errorf("propose %d: %v, %v", id, got, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	mustStop(t, l)
	for id, v := range m.values {
		if maybe[id] == v {
			sure[id] = v
		}
	}
	m.has(t, sure)
	if l.Status().PendingProposals != 0 {
		t.Errorf("%d proposals are still pending", l.Status().PendingProposals)
	}
}

func TestConfChange(t *testing.T) {
	dir, m := t.TempDir(), newMachine()
	l := mustOpen(t, soloOptions(dir), m)
	ctx := testContext(t)
	learner := &raftpb.ConfChange{
		Id: new(uint64(9)), Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(0xb2)), Context: []byte("context"),
	}
	if err := l.ProposeConfChange(ctx, learner); err != nil {
		t.Fatal(err)
	}
	m.refuse = errors.New("no such member")
	refused := &raftpb.ConfChange{Id: new(uint64(10)), Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(0xb3))}
	// The first proposer has its answer a moment before raft knows that the change is applied.
	var err error
	eventually(t, "the first change is no longer pending", func() bool {
		err = l.ProposeConfChange(ctx, refused)
		return !errors.Is(err, ErrConfChangePending)
	})
	if !errors.Is(err, m.refuse) {
		t.Errorf("refused change: %v, want %v", err, m.refuse)
	}
	mustPropose(t, l, 1, "after")
	mustStop(t, l)

	if len(m.changes) != 2 {
		t.Fatalf("%d changes applied, want the founding one and the learner's", len(m.changes))
	}
	if c := m.changes[0]; c.Index != 1 || string(c.Context) != `{"name":"solo"}` || c.Changes[0].GetNodeId() != testMember {
		t.Errorf("founding change: %+v", c)
	}
	if c := m.changes[1]; c.ID != 9 || string(c.Context) != "context" || c.Changes[0].GetType() != raftpb.ConfChangeAddLearnerNode {
		t.Errorf("learner's change: %+v", c)
	}

	// The configuration comes back from the state machine, not from the log.
	m = m.reopened()
	l = mustOpen(t, soloOptions(dir), m)
	mustPropose(t, l, 2, "after restart")
	if got := l.conf.GetLearners(); !slices.Equal(got, []uint64{0xb2}) {
		t.Errorf("learners after restart: %x", got)
	}
	if len(m.changes) != 0 {
		t.Errorf("%d changes applied again", len(m.changes))
	}
	mustStop(t, l)
}
