// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	serverversion "go.etcd.io/etcd/server/v3/etcdserver/version"
	"go.uber.org/zap"
)

var errUnknownMethod = errors.New("etcdserver: unknown method")

// Downgrade allows the cluster to become one of the minor version before, so that
// members of that version can take the place of those that run.
func (s *maintenanceService) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	v := versions{core: s.core}
	manager := serverversion.NewManager(s.opts.Logger, v)
	var err error
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE:
		err = withTarget(v, r, func(target *semver.Version) error { return manager.DowngradeValidate(ctx, target) })
	case pb.DowngradeRequest_ENABLE:
		err = withTarget(v, r, func(target *semver.Version) error { return manager.DowngradeEnable(ctx, target) })
		if err != nil {
			s.opts.Logger.Warn("reject downgrade request", zap.Error(err))
		}
	case pb.DowngradeRequest_CANCEL:
		// etcd's clients are not told of a failure.
		if err := manager.DowngradeCancel(ctx); err != nil {
			s.opts.Logger.Warn("failed to cancel downgrade", zap.Error(err))
		}
	default:
		err = errUnknownMethod
	}
	if err != nil {
		return nil, grpcError(err)
	}
	return &pb.DowngradeResponse{
		Header: s.pbHeader(s.store.Revision()), Version: version.Cluster(s.store.ClusterVersion()),
	}, nil
}

// withTarget calls do with the version that a request is about, of which only
// major and minor count.
func withTarget(v versions, r *pb.DowngradeRequest, do func(*semver.Version) error) error {
	target, err := semver.NewVersion(r.Version)
	if err != nil {
		if target, err = semver.NewVersion(r.Version + ".0"); err != nil {
			return rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
	}
	if v.GetClusterVersion() == nil {
		return rpctypes.ErrGRPCClusterVersionUnavailable
	}
	return do(majorMinor(target))
}

// watchDowngrade ends a downgrade when all members are of the version that it was
// for, while this member leads, until the server stops.
func (s *Server) watchDowngrade() {
	if s.opts.DowngradeCheckInterval < 0 {
		return
	}
	for s.sleep(s.opts.DowngradeCheckInterval) {
		if term, leads := s.leadingTerm(); leads {
			serverversion.NewMonitor(s.opts.Logger, versions{s.core, term}).CancelDowngradeIfNeeded()
		}
	}
}
