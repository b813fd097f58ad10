// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
)

func TestEveryRowOfTheErrorTableIsAStatus(t *testing.T) {
	for _, row := range grpcErrors {
		// Two are without a code in etcd.
		coded := func(c codes.Code) bool {
			return c != codes.OK && (c != codes.Unknown || row.err == errTimeoutLeaderTransfer || row.err == errNotEnoughStarted)
		}
		if s, ok := status.FromError(row.grpc); !ok || !coded(s.Code()) {
			t.Errorf("%v has no code", row.err)
		}
		wrapped := fmt.Errorf("somewhere: %w", row.err)
		if got := grpcError(wrapped); got != row.grpc {
			t.Errorf("%v becomes %v", wrapped, got)
		}
	}
}

func TestGRPCErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"compacted":         {sqlstore.ErrCompacted, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		"future":            {sqlstore.ErrFutureRevision, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		"no space":          {raftlog.ErrNoSpace, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		"too many requests": {raftlog.ErrTooManyRequests, codes.ResourceExhausted, "etcdserver: too many requests"},
		"lease not found":   {sqlstore.ErrLeaseNotFound, codes.NotFound, "etcdserver: requested lease not found"},
		"timeout":           {errTimeout, codes.Unavailable, "etcdserver: request timed out"},
		"too large":         {errRequestTooLarge, codes.InvalidArgument, "etcdserver: request is too large"},
		"unknown":           {errors.New("disk on fire"), codes.Unknown, "disk on fire"},
		"a status":          {status.Error(codes.Aborted, "so"), codes.Aborted, "so"},
		"a client's error":  {rpctypes.ErrNoLeader, codes.Unavailable, "etcdserver: no leader"},
	} {
		s := status.Convert(grpcError(tc.err))
		if s.Code() != tc.code || s.Message() != tc.text {
			t.Errorf("%s: %v %q, want %v %q", name, s.Code(), s.Message(), tc.code, tc.text)
		}
	}
	if grpcError(nil) != nil {
		t.Error("no error became one")
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if got := grpcError(fmt.Errorf("x: %w", err)); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
