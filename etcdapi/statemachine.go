// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
)

// StateMachine lets a raftlog.Log apply its entries to a store, and tells the
// lessor of leases. It only converts: what an entry does is the store's.
type StateMachine struct {
	store *sqlstore.Store
	opts  Options

	// emptied holds a token when an entry without effect was applied, as the
	// first one of a leader's term is.
	emptied chan struct{}
	failed  chan struct{}
	failure atomic.Pointer[error]
	metrics atomic.Pointer[serverMetrics] // nil until there is a Server
	members *neighbours
	snapDir string // where the content of other members' snapshots is received

	version string           // of the cluster, as it was when it was last checked
	entries []sqlstore.Entry // of the batch being applied, kept for its space
}

var _ raftlog.StateMachine = (*StateMachine)(nil)

// ObserveLeases returns what a store is to call with news of leases (its option
// OnLease).
func ObserveLeases(le *lessor.Lessor) func([]sqlstore.LeaseEvent) {
	return func(events []sqlstore.LeaseEvent) {
		granted := le.Granted
		for _, e := range events {
			switch e.Kind {
			case sqlstore.LeaseGranted:
				granted(lessor.Lease(e.Lease))
			case sqlstore.LeaseRevoked:
				le.Revoked(e.Lease.ID)
			case sqlstore.LeaseCheckpointed:
				le.Checkpointed(e.Lease.ID, e.Lease.Remaining)
			case sqlstore.LeaseReset:
				le.Reset()
				granted = le.Restore // those that follow were granted before
			}
		}
	}
}

// NewStateMachine returns the adapter for an open store to which nothing is
// being applied, and makes its leases known to le, whose observer the store was
// opened with. opts gives it clock, logger and the duration that is slow.
func NewStateMachine(store *sqlstore.Store, le *lessor.Lessor, opts Options) *StateMachine {
	opts.SetDefaults()
	for _, l := range store.Leases() {
		le.Restore(lessor.Lease(l))
	}
	return &StateMachine{
		store:   store,
		opts:    opts,
		emptied: make(chan struct{}, 1),
		failed:  make(chan struct{}),
		members: newNeighbours(opts.Logger),
	}
}

// Connect connects this member with those that the store knows, and from then on
// as changes of membership are applied. It is called once, before the log is
// opened; a member that is always alone needs no call. snapDir is where peers
// receives the content of snapshots.
func (m *StateMachine) Connect(self uint64, peers Peers, snapDir string) {
	m.members.self, m.members.peers, m.snapDir = self, peers, snapDir
	m.members.connect(m.store)
}

// Removed returns a channel that is closed when this member was removed from the
// cluster. It must not go on then.
func (m *StateMachine) Removed() <-chan struct{} { return m.members.gone }

// IsRemoved says whether a member was removed from the cluster.
func (m *StateMachine) IsRemoved(member uint64) bool { return m.members.isRemoved(member) }

// Failed returns a channel that is closed when the store can't apply any more.
// The process must end then; Err says why.
func (m *StateMachine) Failed() <-chan struct{} { return m.failed }

// Err returns why the store can't apply any more, nil while it can.
func (m *StateMachine) Err() error {
	if err := m.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail notes the first error that ended the store.
func (m *StateMachine) fail(err error) {
	if m.failure.CompareAndSwap(nil, &err) {
		m.opts.Logger.Error("the store can't apply entries any more", zap.Error(err))
		close(m.failed)
	}
}

// Applied implements raftlog.StateMachine.
func (m *StateMachine) Applied() (index uint64, conf *raftpb.ConfState) {
	index, _ = m.store.Applied()
	encoded := m.store.ConfState()
	if encoded == nil {
		return index, nil
	}
	conf = new(raftpb.ConfState)
	if err := proto.Unmarshal(encoded, conf); err != nil {
		m.fail(fmt.Errorf("etcdapi: configuration in the store: %w", err))
		return index, nil
	}
	return index, conf
}

// Apply implements raftlog.StateMachine. The values of results are
// *sqlstore.Outcome. After a failure of the store nothing is applied any more
// and no proposer gets an answer, for it would be a guess.
func (m *StateMachine) Apply(entries []raftlog.Entry) []raftlog.Result {
	if m.Err() != nil {
		return nil
	}
	start := m.opts.Clock.Now()
	m.entries = m.entries[:0]
	for _, e := range entries {
		m.entries = append(m.entries, sqlstore.Entry(e))
	}
	outcomes, err := m.store.Apply(m.entries)
	clear(m.entries) // let go of the payloads
	if err != nil {
		m.fail(err)
		return nil
	}
	if err := m.followVersion(); err != nil {
		return nil
	}
	results := make([]raftlog.Result, len(outcomes))
	for i := range outcomes {
		results[i] = raftlog.Result{ID: outcomes[i].ID, Value: &outcomes[i]}
	}
	took, metrics := m.opts.Clock.Now().Sub(start), m.metrics.Load()
	if metrics != nil {
		metrics.observeApplied(entries, outcomes, took)
	}
	if took > m.opts.WarningApplyDuration {
		if metrics != nil {
			metrics.SlowApplies.Inc()
		}
		m.opts.Logger.Warn("apply request took too long",
			zap.Duration("took", took),
			zap.Duration("expected-duration", m.opts.WarningApplyDuration),
			zap.Int("entries", len(entries)),
			zap.Uint64("last-index", entries[len(entries)-1].Index))
	}
	return results
}

// ApplyEmpty implements raftlog.StateMachine.
func (m *StateMachine) ApplyEmpty(index, term uint64) {
	if m.Err() != nil {
		return
	}
	if _, err := m.store.Apply([]sqlstore.Entry{{Index: index, Term: term}}); err != nil {
		m.fail(err)
		return
	}
	select {
	case m.emptied <- struct{}{}:
	default:
	}
}

// CheckConfChange implements raftlog.StateMachine by etcd's own rules, and one
// more: the last voter stays. Raft can't be without one, and etcd ends when it
// applies such an entry, at every start.
func (m *StateMachine) CheckConfChange(change raftlog.ConfChange) error {
	if len(change.Changes) != 1 {
		return fmt.Errorf("etcdapi: entry %d changes %d members at once", change.Index, len(change.Changes))
	}
	if change.Joint {
		return fmt.Errorf("etcdapi: entry %d leads to a joint configuration, which nobody would leave", change.Index)
	}
	if err := checkMemberContext(change); err != nil {
		return err
	}
	single := change.Changes[0]
	cc := &raftpb.ConfChange{Type: single.Type, NodeId: single.NodeId, Context: change.Context}
	cluster := clusterOf(m.store, &m.opts)
	if err := cluster.ValidateConfigurationChange(cc, membership.ApplyBoth); err != nil {
		return err
	}
	if single.GetType() == raftpb.ConfChangeRemoveNode && isLastVoter(cluster, types.ID(single.GetNodeId())) {
		return errNotEnoughStarted
	}
	return nil
}

// isLastVoter says whether nobody but a member has a vote.
func isLastVoter(cluster *membership.RaftCluster, id types.ID) bool {
	voters := cluster.VotingMembers()
	return len(voters) == 1 && voters[0].ID == id
}

// checkMemberContext refuses a change whose payload is not the member that it is
// about, which etcd's validation takes for granted.
func checkMemberContext(change raftlog.ConfChange) error {
	single := change.Changes[0]
	switch single.GetType() {
	case raftpb.ConfChangeRemoveNode:
		return nil
	case raftpb.ConfChangeAddNode, raftpb.ConfChangeAddLearnerNode, raftpb.ConfChangeUpdateNode:
	default:
		return fmt.Errorf("etcdapi: entry %d: unknown change %v", change.Index, single.GetType())
	}
	member, err := decodeMember(change.Context)
	if err != nil {
		return fmt.Errorf("etcdapi: entry %d: %w", change.Index, err)
	}
	if uint64(member.ID) != single.GetNodeId() {
		return fmt.Errorf("etcdapi: entry %d is about member %x but carries %s", change.Index, single.GetNodeId(), member.ID)
	}
	return nil
}

func decodeMember(data []byte) (membership.ConfigChangeContext, error) {
	var c membership.ConfigChangeContext
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("member of a configuration change: %w", err)
	}
	return c, nil
}

// ApplyConfChange implements raftlog.StateMachine.
func (m *StateMachine) ApplyConfChange(change raftlog.ConfChange, conf *raftpb.ConfState) error {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(conf)
	if err != nil {
		return fmt.Errorf("etcdapi: entry %d: %w", change.Index, err)
	}
	rows := sqlstore.MembershipChange{ConfState: encoded}
	for _, single := range change.Changes {
		if single.GetType() == raftpb.ConfChangeRemoveNode {
			rows.Remove = single.GetNodeId()
			continue
		}
		if rows.Put, err = m.changedMember(change.Context); err != nil {
			return fmt.Errorf("etcdapi: entry %d: %w", change.Index, err)
		}
	}
	if err := m.store.ApplyMembership(change.Index, change.Term, rows); err != nil {
		m.fail(err)
		return err
	}
	m.members.follow(change, m.store)
	return nil
}

// changedMember is the member's row after a change that carries context: a new
// one, a learner turned voter, or one with other peer URLs.
func (m *StateMachine) changedMember(context []byte) (*sqlstore.Member, error) {
	c, err := decodeMember(context)
	if err != nil {
		return nil, err
	}
	old, known := m.store.Member(uint64(c.ID))
	switch {
	case !known:
		return &sqlstore.Member{
			ID: uint64(c.ID), PeerURLs: c.PeerURLs, IsLearner: c.IsLearner, Name: c.Name, ClientURLs: c.ClientURLs,
		}, nil
	case c.IsPromote:
		old.IsLearner = false
	default:
		old.PeerURLs = c.PeerURLs
	}
	return &old, nil
}

// Persist implements raftlog.StateMachine.
func (m *StateMachine) Persist(ctx context.Context) (uint64, error) { return m.store.Persist(ctx) }

// SnapshotData implements raftlog.StateMachine.
func (m *StateMachine) SnapshotData() ([]byte, error) { return snapshotData(m.store, &m.opts) }

// alarms is a shorthand.
func (c *core) alarms() []*pb.AlarmMember { return c.store.Alarms(pb.AlarmType_NONE) }
