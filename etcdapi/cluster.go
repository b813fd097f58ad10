// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/raftlog"
)

// clusterService is etcd's Cluster service: changes of membership, each an entry
// of the log.
type clusterService struct {
	*core
	members *neighbours
	pb.UnsafeClusterServer
}

// MemberList lists the members in the order of their ids.
func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if r.Linearizable {
		if err := s.linearize(ctx); err != nil {
			return nil, grpcError(err)
		}
	}
	return &pb.MemberListResponse{Header: s.pbHeader(0), Members: s.list()}, nil
}

func (s *clusterService) list() []*pb.Member {
	var all []*pb.Member
	for _, m := range s.store.Members() {
		all = append(all, &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
		})
	}
	return all
}

// MemberAdd adds a member that is to be started afterwards, with an id made of
// its URLs and the time, as etcd makes it.
func (s *clusterService) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	urls, err := types.NewURLs(r.PeerURLs)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	now, kind := s.opts.Clock.Now(), raftpb.ConfChangeAddNode
	member := membership.NewMember("", urls, "", &now)
	if r.IsLearner {
		member, kind = membership.NewMemberAsLearner("", urls, "", &now), raftpb.ConfChangeAddLearnerNode
	}
	change := reconfiguration{
		kind: kind, id: uint64(member.ID), payload: member,
		name: "member add", may: func() error { return s.mayAdd(member) },
	}
	if err := s.configure(ctx, change); err != nil {
		return nil, grpcError(err)
	}
	return &pb.MemberAddResponse{
		Header:  s.pbHeader(0),
		Member:  &pb.Member{ID: uint64(member.ID), PeerURLs: member.PeerURLs, IsLearner: member.IsLearner},
		Members: s.list(),
	}, nil
}

// MemberRemove removes a member, which stops when it hears of it.
func (s *clusterService) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	change := reconfiguration{
		kind: raftpb.ConfChangeRemoveNode, id: r.ID,
		name: "member remove", may: func() error { return s.mayRemove(types.ID(r.ID)) },
	}
	if err := s.configure(ctx, change); err != nil {
		return nil, grpcError(err)
	}
	return &pb.MemberRemoveResponse{Header: s.pbHeader(0), Members: s.list()}, nil
}

// MemberUpdate gives a member other peer URLs.
func (s *clusterService) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if _, err := types.NewURLs(r.PeerURLs); err != nil {
		// etcd takes these, and its members end when they apply it.
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	member := &membership.Member{ID: types.ID(r.ID), RaftAttributes: membership.RaftAttributes{PeerURLs: r.PeerURLs}}
	change := reconfiguration{
		kind: raftpb.ConfChangeUpdateNode, id: r.ID, payload: member,
		name: "member update", may: func() error { return nil },
	}
	if err := s.configure(ctx, change); err != nil {
		return nil, grpcError(err)
	}
	return &pb.MemberUpdateResponse{Header: s.pbHeader(0), Members: s.list()}, nil
}

// MemberPromote gives a learner a vote once it has nearly all that the leader has.
// Only the leader knows that, so other members ask it.
func (s *clusterService) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	members, err := s.promote(ctx, r.ID)
	if err != nil {
		return nil, grpcError(err)
	}
	return &pb.MemberPromoteResponse{Header: s.pbHeader(0), Members: members}, nil
}

func (s *clusterService) promote(ctx context.Context, id uint64) ([]*pb.Member, error) {
	err := s.promoteHere(ctx, id)
	if errors.Is(err, errNotLeader) {
		return s.promoteByLeader(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return s.list(), nil
}

// promoteHere promotes a learner as the leader. Errors: errNotLeader and those of
// a refusal.
func (s *clusterService) promoteHere(ctx context.Context, id uint64) error {
	err := s.configure(ctx, reconfiguration{
		kind: raftpb.ConfChangeAddNode, id: id,
		payload: &membership.ConfigChangeContext{Member: membership.Member{ID: types.ID(id)}, IsPromote: true},
		name:    "member promote", may: func() error { return s.mayPromote(id) },
	})
	if errors.Is(err, errNotLeader) {
		return err
	}
	if err != nil {
		s.metrics.LearnerPromoteFailures.WithLabelValues(status.Convert(grpcError(err)).Message()).Inc()
		return err
	}
	s.metrics.LearnerPromotions.Inc()
	return nil
}

// confChangeRetryInterval is the wait before a change is proposed again that came
// while another one was not applied yet.
const confChangeRetryInterval = 20 * time.Millisecond

// reconfiguration is a change of one member.
type reconfiguration struct {
	kind    raftpb.ConfChangeType
	id      uint64
	payload any    // goes into the log as JSON, if not nil
	name    string // of the request
	// may says why the change can't be made as things are: nil if it can.
	may func() error
}

// configure brings a change of membership into the log and returns when it is
// applied. The members may be others each time it is tried, so each time it is
// asked whether they allow it.
func (s *clusterService) configure(ctx context.Context, r reconfiguration) error {
	change := &raftpb.ConfChange{Type: r.kind.Enum(), NodeId: &r.id, Id: new(s.ids.Next())}
	if r.payload != nil {
		var err error
		if change.Context, err = json.Marshal(r.payload); err != nil {
			return fmt.Errorf("etcdapi: member %x: %w", r.id, err)
		}
	}
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	for start := s.opts.Clock.Now(); ; {
		if err := r.may(); err != nil {
			return s.refuse(r, err)
		}
		err := s.log.ProposeConfChange(bounded, change)
		if err == nil {
			break
		}
		if !errors.Is(err, raftlog.ErrConfChangePending) {
			return s.proposalError(err, start)
		}
		// Nothing was proposed; the one before is applied in a moment.
		if err := s.pause(bounded, confChangeRetryInterval); err != nil {
			return err
		}
	}
	s.opts.Logger.Info("applied a configuration change through raft",
		zap.Stringer("local-member-id", types.ID(s.memberID)),
		zap.Stringer("raft-conf-change", r.kind), zap.Stringer("raft-conf-change-node-id", types.ID(r.id)))
	return nil
}

// refuse tells operators, too, why a change was not proposed, unless that is for
// another member to decide.
func (s *clusterService) refuse(r reconfiguration, err error) error {
	if !errors.Is(err, errNotLeader) {
		s.opts.Logger.Warn("rejecting "+r.name+" request", zap.Stringer("local-member-id", types.ID(s.memberID)),
			zap.Stringer("requested-member-id", types.ID(r.id)), zap.Error(err))
	}
	return err
}
