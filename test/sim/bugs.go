// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
)

// entry is what a node applies in place of e.
func (b Bug) entry(n *node, e raftlog.Entry) raftlog.Entry {
	if b != BugNodeDependent && b != BugMapOrder || e.Index%50 != 0 {
		return e
	}
	r := new(pb.InternalRaftRequest)
	if err := proto.Unmarshal(e.Data, r); err != nil || r.Put == nil {
		return e
	}
	if b == BugNodeDependent {
		r.Put.Value = fmt.Appendf(nil, "%s at n%d", r.Put.Value, n.id)
	} else {
		// The language's own disorder would not repeat under a seed.
		order := n.world.rng.Perm(2)
		r.Put.Value = bytes.Join([][]byte{[][]byte{r.Put.Value, []byte("and")}[order[0]], [][]byte{r.Put.Value, []byte("and")}[order[1]]}, nil)
	}
	e.Data = encode(r)
	return e
}

// trouble is what a rare bug's worlds have in any case, to meet it soon.
func (b Bug) trouble() fault {
	switch b {
	case BugUnstamped:
		return faultReorder | faultTransfer | faultOneWay
	case BugUnsyncedVote:
		return faultPower | faultLoss
	default:
		return 0
	}
}

// skipsSync says that a node's raft is told that what it saved is durable while it is not.
func (b Bug) skipsSync(n *node) bool {
	return b == BugAckBeforeSync || b == BugUnsyncedVote && n.storage.voted
}

// stream is what a watcher reads in place of s.
func (b Bug) stream(w *World, s stream) stream {
	switch b {
	case BugLostEvent, BugRepeatedEvent, BugSplitRevision:
		return &badStream{stream: s, bug: b, rng: w.rng}
	default:
		return s
	}
}

// badStream loses, repeats or splits events now and then.
type badStream struct {
	stream
	bug  Bug
	rng  random
	last []watchEvent // for the next response
}

func (s *badStream) next(due int64) ([]watchEvent, int64, error) {
	if held := s.last; s.bug == BugSplitRevision && len(held) > 0 {
		s.last = nil
		return held, 0, nil
	}
	events, progress, err := s.stream.next(due)
	n := len(events)
	switch {
	case err != nil || n == 0:
	case s.bug == BugLostEvent && s.rng.chance(0.05):
		at := s.rng.IntN(n)
		events = append(append([]watchEvent(nil), events[:at]...), events[at+1:]...)
	case s.bug == BugRepeatedEvent:
		again := s.last
		s.last = events[n-1:]
		if s.rng.chance(0.05) {
			events = append(append([]watchEvent(nil), again...), events...)
		}
	case s.bug == BugSplitRevision && n > 1 && events[n-1].Rev == events[n-2].Rev:
		s.last = events[n-1:]
		return events[:n-1], 0, nil
	}
	return events, progress, err
}
