// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/sqlstore/wire"
)

// leaseService is etcd's Lease service. Grants and revocations go through the
// log; renewals and remaining times are the leader's lessor's.
type leaseService struct {
	*core
	quota  *quota
	lessor *lessor.Lessor
	lead   *leadership
	asked  asked
	pb.UnimplementedLeaseServer
}

// leaseApplyTimeout is how long a look at a lease waits for entries before it.
const leaseApplyTimeout = time.Second

// LeaseGrant grants a lease, under an id of its own choice if the client gives
// none.
func (s *leaseService) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := s.quota.check(ctx, leaseOverheadBytes); err != nil {
		return nil, grpcError(err)
	}
	for r.ID == 0 {
		r.ID = int64(s.ids.Next() & math.MaxInt64)
	}
	ctx, end := s.span(ctx, "lease_grant", func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.Int64("id", r.ID), attribute.Int64("ttl", r.TTL)}
	})
	defer end()
	if err := s.auth.RequireUser(ctx); err != nil {
		return nil, grpcError(err)
	}
	outcome, err := s.proposeMessage(ctx, wire.KindLeaseGrant, r)
	if err != nil {
		return nil, grpcError(err)
	}
	resp := outcome.Response.(*pb.LeaseGrantResponse)
	resp.Header = s.pbHeader(outcome.Revision)
	return resp, nil
}

// LeaseRevoke ends a lease and deletes its keys.
func (s *leaseService) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	ctx, end := s.span(ctx, "lease_revoke", func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.Int64("id", r.ID)}
	})
	defer end()
	if err := s.auth.RequireUser(ctx); err != nil {
		return nil, grpcError(err)
	}
	outcome, err := s.proposeMessage(ctx, wire.KindLeaseRevoke, r)
	if err != nil {
		return nil, grpcError(err)
	}
	return &pb.LeaseRevokeResponse{Header: s.pbHeader(outcome.Revision)}, nil
}

// LeaseTimeToLive tells how long a lease lasts; -1 when there is none.
func (s *leaseService) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.auth.RequireUser(ctx); err != nil {
		return nil, grpcError(err)
	}
	if r.Keys {
		if err := s.auth.ReadLeases(ctx, r.ID); err != nil {
			return nil, grpcError(err)
		}
	}
	var resp *pb.LeaseTimeToLiveResponse
	err := s.byLeader(ctx, func(ctx context.Context) (err error) {
		resp, err = s.timeToLiveHere(ctx, r)
		return err
	}, func(ctx context.Context, url string) (err error) {
		resp, err = s.timeToLiveAt(ctx, url, r)
		return err
	})
	if errors.Is(err, lessor.ErrNotFound) {
		resp, err = &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}, nil
	}
	if err == nil && len(resp.Keys) > 0 {
		// The leader may know of keys, and of users, that this member has not heard of.
		if err = s.linearize(ctx); err == nil {
			err = s.auth.ReadKeys(ctx, resp.Keys)
		}
	}
	if err != nil {
		return nil, grpcError(err)
	}
	resp.Header = s.pbHeader(s.store.Revision())
	return resp, nil
}

// timeToLiveHere is LeaseTimeToLive on the leader, without a header. Errors:
// lessor.ErrNotFound, those of wrongLeader, errTimeoutApplied.
func (s *leaseService) timeToLiveHere(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.awaitApplied(ctx); err != nil {
		return nil, err
	}
	info, err := s.lessor.Lookup(r.GetID())
	if err != nil {
		return nil, err
	}
	resp := &pb.LeaseTimeToLiveResponse{
		Header: new(pb.ResponseHeader), ID: r.ID, TTL: int64(info.Left.Seconds()), GrantedTTL: info.TTL,
	}
	if r.Keys {
		for _, key := range s.store.LeaseKeys(r.ID) {
			resp.Keys = append(resp.Keys, []byte(key))
		}
	}
	return resp, s.lead.confirm(ctx)
}

// awaitApplied waits, for a limited time, until everything that is committed is
// applied here, which confirms as well that this member leads.
func (s *leaseService) awaitApplied(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, leaseApplyTimeout)
	defer cancel()
	err := s.lead.ask(bounded)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errTimeoutApplied
	}
	return err
}

// LeaseLeases lists all leases, on the leader those that end first coming first.
func (s *leaseService) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := s.linearize(ctx); err != nil {
		return nil, grpcError(err)
	}
	resp, ids := &pb.LeaseLeasesResponse{Header: s.pbHeader(s.store.Revision())}, s.lessor.IDs()
	if err := s.auth.ReadLeases(ctx, ids...); err != nil {
		return nil, grpcError(err)
	}
	for _, id := range ids {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp, nil
}

// LeaseKeepAlive renews leases as requests come, until the client ends the
// stream, its context ends or the server stops.
func (s *leaseService) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	detach := context.AfterFunc(s.stop, func() { cancel(rpctypes.ErrGRPCStopped) })
	defer detach()
	served := make(chan error, 1)
	// It may sit in Recv until this handler has returned, so it is not waited for.
	go func() { served <- s.keepAlive(ctx, stream) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return grpcError(context.Cause(ctx))
	}
}

func (s *leaseService) keepAlive(ctx context.Context, stream pb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.keepAliveFailure(ctx, "receive", err)
			return err
		}
		// The header is made before the renewal: a client must not see a renewal
		// confirmed at a revision at which the lease was gone already.
		resp := &pb.LeaseKeepAliveResponse{Header: s.pbHeader(s.store.Revision()), ID: r.ID}
		resp.TTL, err = s.renew(ctx, r.ID)
		if err != nil && !errors.Is(err, lessor.ErrNotFound) {
			return grpcError(err)
		}
		if err := stream.Send(resp); err != nil {
			s.keepAliveFailure(ctx, "send", err)
			return err
		}
	}
}

// renew has the leader give a lease its full time and returns that in seconds,
// 0 with lessor.ErrNotFound.
func (s *leaseService) renew(ctx context.Context, id int64) (ttl int64, err error) {
	ctx, end := s.span(ctx, "lease_renew", func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.Int64("id", id)}
	})
	defer end()
	if err := s.permitRenewal(ctx, id); err != nil {
		return 0, err
	}
	err = s.byLeader(ctx, func(ctx context.Context) (err error) {
		ttl, err = s.renewHere(ctx, id)
		return err
	}, func(ctx context.Context, url string) (err error) {
		ttl, err = s.renewAt(ctx, url, id)
		return err
	})
	return ttl, err
}

// permitRenewal refuses clients that may not write all of a lease's keys.
func (s *leaseService) permitRenewal(ctx context.Context, id int64) error {
	if !s.auth.Enabled() {
		return nil
	}
	if _, known := s.store.Lease(id); !known {
		// Its grant and its keys may be committed and not applied yet.
		if err := s.linearize(ctx); err != nil {
			return err
		}
	}
	return s.auth.RenewLease(ctx, id)
}

// renewHere is renew on the leader. Errors: lessor.ErrNotFound, those of
// wrongLeader, errTimeoutApplied, and why a checkpoint could not be cleared.
func (s *leaseService) renewHere(ctx context.Context, id int64) (ttl int64, err error) {
	ttl, err = s.lessor.Renew(ctx, id)
	if errors.Is(err, lessor.ErrNotFound) {
		// Its grant may be committed and not applied yet.
		if err := s.awaitApplied(ctx); err != nil {
			return 0, err
		}
		ttl, err = s.lessor.Renew(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	// After the renewal, however long that took: see leadership.
	if err := s.lead.confirm(ctx); err != nil {
		return 0, err
	}
	return ttl, nil
}

func (s *leaseService) keepAliveFailure(ctx context.Context, direction string, err error) {
	if ctx.Err() != nil || clientLeft(err) {
		return
	}
	s.metrics.StreamFailures.WithLabelValues(direction, "lease-keepalive").Inc()
	s.opts.Logger.Warn("lease keepalive stream failed", zap.String("direction", direction), zap.Error(err))
}
