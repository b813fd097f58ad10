// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore/wire"
)

// maintenanceService is etcd's Maintenance service.
type maintenanceService struct {
	*core
	// snapshots holds a token for each that is being made or sent.
	snapshots chan struct{}
	pb.UnsafeMaintenanceServer
}

// Status describes this member, whether or not it has a leader. The version is
// that of the etcd whose behaviour is kept.
func (s *maintenanceService) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	log, space := s.log.Status(), s.usage()
	resp := &pb.StatusResponse{
		Header:           s.pbHeader(s.store.Revision()),
		Version:          version.Version,
		Leader:           log.Leader,
		RaftIndex:        log.CommitIndex,
		RaftAppliedIndex: log.AppliedIndex,
		RaftTerm:         log.Term,
		DbSize:           space.total,
		DbSizeInUse:      space.used,
		DbSizeQuota:      s.opts.QuotaBackendBytes,
		IsLearner:        log.Learner,
	}
	if storage := (versions{core: s.core}).GetStorageVersion(); storage != nil {
		resp.StorageVersion = storage.String()
	}
	downgrade := s.store.Downgrade()
	resp.DowngradeInfo = &pb.DowngradeInfo{Enabled: downgrade.Enabled, TargetVersion: downgrade.TargetVersion}
	if log.Leader == 0 {
		resp.Errors = append(resp.Errors, "etcdserver: no leader")
	}
	for _, a := range s.alarms() {
		resp.Errors = append(resp.Errors, a.String())
	}
	return resp, nil
}

// Alarm lists, raises or disarms alarms.
func (s *maintenanceService) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_GET {
		start := s.opts.Clock.Now()
		if err := s.linearize(ctx); errors.Is(err, errTimeout) && s.leaderless(start) {
			return nil, context.DeadlineExceeded // etcd proposes the question, and says so then
		} else if err != nil {
			return nil, grpcError(err)
		}
		return &pb.AlarmResponse{
			Header: s.pbHeader(s.store.Revision()), Alarms: s.store.Alarms(r.Alarm),
		}, nil
	}
	if _, known := pb.AlarmRequest_AlarmAction_name[int32(r.Action)]; !known {
		return nil, status.Errorf(codes.InvalidArgument, "etcdserver: unknown alarm action %d", r.Action)
	}
	outcome, err := s.proposeMessage(ctx, wire.KindAlarm, r)
	if err != nil {
		return nil, grpcError(err)
	}
	resp := outcome.Response.(*pb.AlarmResponse)
	resp.Header = s.pbHeader(outcome.Revision)
	return resp, nil
}

// Defragment has the space of deleted rows given back to the file system, in
// the background: it holds up neither this call nor any other.
func (s *maintenanceService) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	s.store.Defragment()
	return &pb.DefragmentResponse{}, nil
}

// Hash is a hash of all that this member stores. Unlike HashKV's it can't be
// compared with an etcd member's, whose file is another.
func (s *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	hash, revision, err := s.store.Hash(ctx)
	if err != nil {
		return nil, grpcError(err)
	}
	return &pb.HashResponse{Header: s.pbHeader(revision), Hash: hash}, nil
}

// HashKV is a hash of the history up to a revision, equal on all members.
func (s *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	h, err := s.store.HashKV(ctx, r.Revision)
	if err != nil {
		return nil, grpcError(err)
	}
	return &pb.HashKVResponse{
		Header:          s.pbHeader(h.Current),
		Hash:            h.Hash,
		CompactRevision: h.CompactRevision,
		HashRevision:    h.HashRevision,
	}, nil
}

// MoveLeader hands leadership to another voter and returns when that leads. Only
// the leader does.
func (s *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if s.log.Leader() != s.memberID {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	target, known := s.store.Member(r.TargetID)
	if !known || target.IsLearner {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if r.TargetID == s.memberID {
		return &pb.MoveLeaderResponse{}, nil
	}
	fields := []zap.Field{
		zap.Stringer("current-leader-member-id", types.ID(s.memberID)), zap.Stringer("transferee-member-id", types.ID(r.TargetID)),
	}
	s.opts.Logger.Info("leadership transfer starting", fields...)
	start := s.opts.Clock.Now()
	if err := s.transfer(ctx, r.TargetID); err != nil {
		return nil, grpcError(err)
	}
	s.opts.Logger.Info("leadership transfer finished", append(fields, zap.Duration("took", s.since(start)))...)
	return &pb.MoveLeaderResponse{}, nil
}

// transfer returns when another voter leads. Writes wait while it is tried, so it
// is not tried for longer than a request may take; the client may wait on.
func (s *maintenanceService) transfer(ctx context.Context, to uint64) error {
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	err := s.log.TransferLeadership(bounded, to)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return s.awaitLeader(ctx, to)
	case errors.Is(err, raftlog.ErrNoLeader) && s.log.Leader() == to:
		return nil // it led before it was asked to
	}
	return err
}

// awaitLeader returns when a member leads. Errors: errTimeoutLeaderTransfer when
// ctx ends before.
func (s *maintenanceService) awaitLeader(ctx context.Context, id uint64) error {
	for {
		changed := s.log.LeaderChanged()
		if s.log.Leader() == id {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errTimeoutLeaderTransfer
		case <-s.stop.Done():
			return rpctypes.ErrGRPCStopped
		}
	}
}
