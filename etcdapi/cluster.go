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
	if err := s.mayAdd(member); err != nil {
		return nil, s.refuse("member add", member.ID, err)
	}
	if err := s.configure(ctx, kind, uint64(member.ID), member); err != nil {
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
	if err := s.mayRemove(types.ID(r.ID)); err != nil {
		return nil, s.refuse("member remove", types.ID(r.ID), err)
	}
	if err := s.configure(ctx, raftpb.ConfChangeRemoveNode, r.ID, nil); err != nil {
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
	if err := s.configure(ctx, raftpb.ConfChangeUpdateNode, r.ID, member); err != nil {
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
	err := s.mayPromote(id)
	if errors.Is(err, errNotLeader) {
		return err
	}
	if err != nil {
		s.opts.Logger.Warn("rejecting member promote request",
			zap.Stringer("requested-member-id", types.ID(id)), zap.Error(err))
	} else {
		payload := &membership.ConfigChangeContext{Member: membership.Member{ID: types.ID(id)}, IsPromote: true}
		err = s.configure(ctx, raftpb.ConfChangeAddNode, id, payload)
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

// configure brings a change of one member into the log, with payload as JSON, and
// returns when it is applied.
func (s *clusterService) configure(ctx context.Context, kind raftpb.ConfChangeType, id uint64, payload any) error {
	change := &raftpb.ConfChange{Type: kind.Enum(), NodeId: &id, Id: new(s.ids.Next())}
	if payload != nil {
		var err error
		if change.Context, err = json.Marshal(payload); err != nil {
			return fmt.Errorf("etcdapi: member %x: %w", id, err)
		}
	}
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	start := s.opts.Clock.Now()
	err := s.log.ProposeConfChange(bounded, change)
	for errors.Is(err, raftlog.ErrConfChangePending) && s.pause(bounded, confChangeRetryInterval) == nil {
		// Nothing was proposed; the one before is applied in a moment.
		err = s.log.ProposeConfChange(bounded, change)
	}
	if err != nil {
		return s.proposalError(err, start)
	}
	s.opts.Logger.Info("applied a configuration change through raft",
		zap.Stringer("local-member-id", types.ID(s.memberID)),
		zap.Stringer("raft-conf-change", kind), zap.Stringer("raft-conf-change-node-id", types.ID(id)))
	return nil
}

// refuse tells operators, too, why a change was not proposed.
func (s *clusterService) refuse(request string, id types.ID, err error) error {
	s.opts.Logger.Warn("rejecting "+request+" request",
		zap.Stringer("local-member-id", types.ID(s.memberID)), zap.Stringer("requested-member-id", id), zap.Error(err))
	return grpcError(err)
}
