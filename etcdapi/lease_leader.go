// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// keepLeases has the lessor follow leadership until the server stops: primary
// once everything of earlier terms is applied, for one term at a time.
func (s *Server) keepLeases() {
	for primary := uint64(0); ; { // the term in which the lessor was promoted
		changed := s.log.LeaderChanged()
		term, leader := s.log.Term(), s.log.Leader()
		s.leases.asked.set(leader)
		_, applied := s.store.Applied()
		switch {
		case leader != s.memberID:
			s.lessor.Demote()
		case applied == term && primary != term:
			// Another may have led between two terms of this one. Clients had no
			// leader to renew at for an election's time.
			s.lessor.Demote()
			s.lessor.Promote(leaseProposer{s.core, s.leases.lead, term}, s.opts.ElectionTimeout)
			primary = term
			select {
			case s.promoted <- struct{}{}:
			default:
			}
		}
		select {
		case <-changed:
		case <-s.machine.emptied:
		case <-s.stop.Done():
			return
		}
	}
}

// leadership remembers when this member was last certain to lead, so that not
// every renewal of a lease has to ask the other members.
//
// A renewal counts if no other leader lets the lease end before the time that
// the client was told. It is confirmed after the lessor has taken it, by a
// question to the quorum that began at most an election timeout before. If it is
// answered, any later leader took over after it began; that one then gives the
// lease its full time and an election timeout, which is longer than what the
// client was told. No two members' clocks are compared.
type leadership struct {
	*core

	mu    sync.Mutex
	term  uint64
	began time.Time // the last question that was answered
}

// trustedFor is how long an answer counts. It must not be longer than what a new
// leader adds to leases; half of it leaves room for the way to the client.
func (l *leadership) trustedFor() time.Duration { return l.opts.ElectionTimeout / 2 }

// confirm returns nil if this member led a moment ago. Errors: as ask.
func (l *leadership) confirm(ctx context.Context) error {
	term, now := l.log.Term(), l.opts.Clock.Now()
	l.mu.Lock()
	trusted := l.term == term && l.trusted(now)
	l.mu.Unlock()
	if trusted && l.log.Leader() == l.memberID {
		return nil
	}
	return l.ask(ctx)
}

// trusted says that the last answer counts still. The clock that counts stands
// still while a virtual machine is suspended; that the time of day has not moved
// either is not relied upon, but if it has, the others are asked.
func (l *leadership) trusted(now time.Time) bool {
	day := now.Round(0).Sub(l.began.Round(0))
	return now.Sub(l.began) <= l.trustedFor() && day.Abs() <= l.trustedFor()
}

// ask returns nil if this member still led after the call began and has applied
// all that was committed then. Errors: errNotLeader, errTimeout, the log's and ctx's.
func (l *leadership) ask(ctx context.Context) error {
	began, term := l.opts.Clock.Now(), l.log.Term()
	if l.log.Leader() != l.memberID {
		return errNotLeader
	}
	if err := l.linearize(ctx); err != nil {
		return err
	}
	// In one term there is one leader, so it was this one that answered.
	if l.log.Leader() != l.memberID || l.log.Term() != term {
		return errNotLeader
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term || began.After(l.began) {
		l.term, l.began = term, began
	}
	return nil
}

// asked is the leader to which questions about leases go. They end when another
// one leads: a leader whose process was stopped still takes them, and never answers.
type asked struct {
	mu     sync.Mutex
	leader uint64
	ctx    context.Context // ends with the leader
	end    context.CancelFunc
}

// set tells who leads, 0 for nobody.
func (a *asked) set(leader uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx != nil && a.leader == leader {
		return
	}
	if a.end != nil {
		a.end()
	}
	a.leader = leader
	a.ctx, a.end = context.WithCancel(context.Background())
}

// while returns ctx for a question to leader; it ends with the leader, too. The
// caller calls done. Error: errNotLeader, if another one is known already.
func (a *asked) while(ctx context.Context, leader uint64) (bound context.Context, done func(), err error) {
	a.mu.Lock()
	leading, current := a.ctx, a.leader
	a.mu.Unlock()
	if leading == nil || current != leader {
		return nil, nil, errNotLeader
	}
	bound, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(leading, cancel)
	return bound, func() { detach(); cancel() }, nil
}

// leaseProposer is what the lessor wants from the log while this member leads in
// a term. What it proposes enters the log in that term or not at all: a leader
// that was held up, deposed and then forwards what it had decided to revoke
// would end leases that clients have renewed at the next one.
type leaseProposer struct {
	*core
	lead *leadership
	term uint64
}

// ConfirmLeader implements lessor.Proposer.
func (p leaseProposer) ConfirmLeader(ctx context.Context) error {
	if err := p.lead.ask(ctx); err != nil {
		return err
	}
	if p.log.Term() != p.term {
		return errNotLeader
	}
	return nil
}

// RevokeLease implements lessor.Proposer.
func (p leaseProposer) RevokeLease(ctx context.Context, id int64) error {
	_, err := p.proposeInTerm(authority.AsRoot(ctx), p.term, wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	if errors.Is(err, sqlstore.ErrLeaseNotFound) {
		return nil
	}
	for _, without := range revocationRefusals {
		if errors.Is(err, without) {
			return fmt.Errorf("%w: %w", lessor.ErrRefused, err)
		}
	}
	return err
}

// revocationRefusals are the errors after which a revocation has no effect.
var revocationRefusals = []error{
	sqlstore.ErrCorrupt, raftlog.ErrNotLeader, raftlog.ErrTooManyRequests, raftlog.ErrNoSpace,
	auth.ErrUserEmpty, auth.ErrAuthOldRevision, // users changed meanwhile
}

// CheckpointLeases implements lessor.Proposer.
func (p leaseProposer) CheckpointLeases(ctx context.Context, checkpoints []*pb.LeaseCheckpoint) error {
	_, err := p.proposeInTerm(ctx, p.term, wire.KindLeaseCheckpoint, &pb.LeaseCheckpointRequest{Checkpoints: checkpoints})
	return err
}

var _ lessor.Proposer = leaseProposer{}
