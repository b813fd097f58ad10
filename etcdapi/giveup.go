// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// elections knows what is needed to tell why a proposal got no answer in time.
type elections struct {
	members *neighbours
	// elected is when this member last heard of a new leader; nil before.
	elected atomic.Pointer[time.Time]
	// lost is when this member last lost its leader; nil while it has one.
	lost atomic.Pointer[time.Time]
}

// watchElections notes when leaders are elected, until the server stops.
func (s *Server) watchElections() {
	for last := uint64(0); ; {
		changed, leader := s.log.LeaderChanged(), s.log.Leader()
		switch {
		case leader == 0 && last != 0:
			s.elections.lost.Store(new(s.opts.Clock.Now()))
		case leader != 0 && leader != last:
			s.elections.lost.Store(nil)
			s.elections.elected.Store(new(s.opts.Clock.Now()))
		}
		last = leader
		select {
		case <-changed:
		case <-s.stop.Done():
			return
		}
	}
}

// proposalError tells, in etcd's terms, why a proposal that was made at start was
// given up.
func (c *core) proposalError(err error, start time.Time) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errCanceled
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case c.leaderless(start):
		return err // as in etcd, where raft has never taken it
	case c.lostLeader(start):
		return errTimeoutLeaderFailed
	case c.lostConnection(start):
		return errTimeoutConnectionLost
	}
	return errTimeout
}

// lostLeader says whether a leader was elected after start, or the one before it
// was probably gone already at start.
func (c *core) lostLeader(start time.Time) bool {
	elected := c.elections.elected.Load()
	if elected == nil {
		return false
	}
	return start.After(elected.Add(-2*c.opts.ElectionTimeout)) && start.Before(*elected)
}

// leaderless says whether there has been no leader since start.
func (c *core) leaderless(start time.Time) bool {
	lost := c.elections.lost.Load()
	return lost != nil && lost.Before(start)
}

// lostConnection says whether this member was cut off from its leader, or as the
// leader from a quorum, at some time after start.
func (c *core) lostConnection(start time.Time) bool {
	leader := c.log.Leader()
	if leader == 0 {
		return false
	}
	if leader != c.memberID {
		return !c.elections.members.connectedSince(leader, start)
	}
	members, connected := c.store.Members(), 0
	for _, m := range members {
		if m.ID == c.memberID || c.elections.members.connectedSince(m.ID, start) {
			connected++
		}
	}
	return connected < quorumOf(len(members))
}

// pause waits for d, or tells why a request can't wait any longer.
func (c *core) pause(ctx context.Context, d time.Duration) error {
	timer := c.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return nil
	case <-c.stop.Done():
		return rpctypes.ErrGRPCStopped
	case <-ctx.Done():
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errCanceled
	case c.log.Leader() == 0:
		return rpctypes.ErrGRPCNoLeader
	}
	return errTimeout
}
