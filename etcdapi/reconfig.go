// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// What etcd refuses before it proposes a change of membership, so that a cluster
// does not lose its quorum by it (--strict-reconfig-check).

// healthInterval is how long a member must have been connected to count as there.
const healthInterval = 5 * time.Second

// readyShare is the part of the leader's log that a learner must have to be given
// a vote.
const readyShare = 0.9

// mayAdd says why a member can't be added now: nil if it can.
func (s *clusterService) mayAdd(member *membership.Member) error {
	if s.opts.StrictReconfig == AllowUnsafe {
		return nil
	}
	cluster := clusterOf(s.store, s.opts)
	if !member.IsLearner && !cluster.IsReadyToAddVotingMember() {
		return errNotEnoughStarted
	}
	// The new one counts as one that is not there yet.
	voters := cluster.VotingMembers()
	if len(voters) > 1 && s.connected(voters) < quorumOf(len(voters)+1) {
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}

// mayRemove says why a member can't be removed now: nil if it can.
func (s *clusterService) mayRemove(id types.ID) error {
	cluster := clusterOf(s.store, s.opts)
	if isLastVoter(cluster, id) {
		// It would be refused when it is applied.
		return errNotEnoughStarted
	}
	if s.opts.StrictReconfig == AllowUnsafe {
		return nil
	}
	if member := cluster.Member(id); member != nil && member.IsLearner {
		return nil
	}
	if !cluster.IsReadyToRemoveVotingMember(uint64(id)) {
		return errNotEnoughStarted
	}
	// One that is down is no part of the quorum that works.
	if uint64(id) != s.memberID && s.members.peers.ActiveSince(uint64(id)).IsZero() {
		return nil
	}
	voters := cluster.VotingMembers()
	if s.connected(voters)-1 < quorumOf(len(voters)-1) {
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}

// mayPromote says why a learner can't be promoted now: nil if it can. Errors:
// errNotLeader if this member can't tell.
func (s *clusterService) mayPromote(id uint64) error {
	progress := s.log.Progress()
	if progress == nil {
		return errNotLeader
	}
	var own, learner uint64
	found := false
	for _, p := range progress {
		if p.ID == s.memberID {
			own = p.Match
		}
		if p.ID == id {
			learner, found = p.Match, true
		}
	}
	switch {
	case !found:
		return membership.ErrIDNotFound
	case float64(learner) < readyShare*float64(own):
		return rpctypes.ErrGRPCLearnerNotReady
	case s.opts.StrictReconfig == RefuseUnsafe && !clusterOf(s.store, s.opts).IsReadyToPromoteMember(id):
		return errNotEnoughStarted
	}
	return nil
}

// connected counts the members that have been connected for healthInterval, this
// one among them.
func (s *clusterService) connected(members []*membership.Member) int {
	count, since := 0, s.opts.Clock.Now().Add(-healthInterval)
	for _, m := range members {
		if uint64(m.ID) == s.memberID || s.members.connectedSince(uint64(m.ID), since) {
			count++
		}
	}
	return count
}

func quorumOf(members int) int { return members/2 + 1 }
