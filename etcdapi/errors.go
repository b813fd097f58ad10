// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	serverversion "go.etcd.io/etcd/server/v3/etcdserver/version"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/backend"
)

// Errors of this package's own doing. The table below gives them etcd's words.
var (
	errTimeout               = errors.New("etcdapi: request timed out")
	errTimeoutLeaderFailed   = errors.New("etcdapi: request timed out, there was no leader meanwhile")
	errTimeoutConnectionLost = errors.New("etcdapi: request timed out, the connection to other members was lost")
	errTimeoutApplied        = errors.New("etcdapi: timed out waiting for the applied index")
	errTimeoutLeaderTransfer = errors.New("etcdapi: request timed out, leader transfer took too long")
	errCanceled              = errors.New("etcdapi: request cancelled")
	errRequestTooLarge       = errors.New("etcdapi: request is too large")
	errNotLeader             = errors.New("etcdapi: not leader")
	errNotEnoughStarted      = errors.New("etcdapi: not enough started members")
	errSnapshotStalled       = errors.New("etcdapi: a snapshot's receiver has stopped reading")
)

// grpcErrors is the one place where an error of any layer gets the code and the
// text that etcd's clients know.
var grpcErrors = []struct{ err, grpc error }{
	{sqlstore.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{sqlstore.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{sqlstore.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{sqlstore.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{sqlstore.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{sqlstore.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{sqlstore.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{sqlstore.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{sqlstore.ErrClosed, rpctypes.ErrGRPCStopped},
	{sqlstore.ErrUnsupported, status.Error(codes.Unimplemented, "etcdserver: request is not supported")},

	{backend.ErrNoSpace, status.Error(codes.ResourceExhausted, "keelson: not enough disk space to make the snapshot")},

	{raftlog.ErrStopped, rpctypes.ErrGRPCStopped},
	{raftlog.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests}, // etcd forgets the code on this one
	{raftlog.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{raftlog.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{raftlog.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{raftlog.ErrResultUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},

	{lessor.ErrNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{lessor.ErrNotPrimary, rpctypes.ErrGRPCLeaderChanged},

	{errTimeout, rpctypes.ErrGRPCTimeout},
	{errTimeoutLeaderFailed, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{errTimeoutConnectionLost, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	{errTimeoutApplied, rpctypes.ErrGRPCTimeoutWaitAppliedIndex},
	{errTimeoutLeaderTransfer, status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")}, // etcd has no code for it
	{errCanceled, rpctypes.ErrGRPCCanceled},
	{errRequestTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{errNotLeader, rpctypes.ErrGRPCNotLeader},
	{errSnapshotStalled, status.Error(codes.DeadlineExceeded, "keelson: the snapshot's receiver has stopped reading")},

	{auth.ErrRootUserNotExist, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrRootRoleNotExist, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrUserAlreadyExist, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrRoleAlreadyExist, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrAuthFailed, rpctypes.ErrGRPCAuthFailed},
	{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrAuthNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrInvalidAuthToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.ErrInvalidAuthMgmt, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrAuthOldRevision, rpctypes.ErrGRPCAuthOldRevision},

	{membership.ErrIDRemoved, rpctypes.ErrGRPCMemberNotFound},
	{membership.ErrIDNotFound, rpctypes.ErrGRPCMemberNotFound},
	{membership.ErrIDExists, rpctypes.ErrGRPCMemberExist},
	{membership.ErrPeerURLexists, rpctypes.ErrGRPCPeerURLExist},
	{membership.ErrMemberNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{errNotEnoughStarted, status.Error(codes.Unknown, rpctypes.ErrMemberNotEnoughStarted.Error())}, // etcd forgets its code
	{membership.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},

	{serverversion.ErrInvalidDowngradeTargetVersion, rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
	{serverversion.ErrDowngradeInProcess, rpctypes.ErrGRPCDowngradeInProcess},
}

// grpcError gives err its place in the API. What the table does not know is
// Unknown with its own text; nil stays nil, and so do errors that are statuses
// already. Ends of a context are left to gRPC, which knows their codes.
func grpcError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, row := range grpcErrors {
		if errors.Is(err, row.err) {
			return row.grpc
		}
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var etcd rpctypes.EtcdError
	if errors.As(err, &etcd) {
		return status.Error(etcd.Code(), etcd.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}

// watchCancelReasons are the words in which a refused watch is told why.
var watchCancelReasons = []struct {
	err    error
	reason string
}{
	{sqlstore.ErrCompacted, rpctypes.ErrCompacted.Error()},
	{sqlstore.ErrEmptyWatchRange, "mvcc: watcher range is empty"},
	{sqlstore.ErrWatcherExists, "mvcc: duplicate watch ID provided on the WatchStream"},
	{sqlstore.ErrTooManyWatchers, "mvcc: too many watchers"},
}

func watchCancelReason(err error) string {
	for _, row := range watchCancelReasons {
		if errors.Is(err, row.err) {
			return row.reason
		}
	}
	return grpcError(err).Error()
}
