// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
)

// leaseRetryInterval is the wait before a question about a lease is asked again,
// of this member or of whoever leads then.
const leaseRetryInterval = 50 * time.Millisecond

// maxLeaseResponseBytes bounds the answer, which may carry all keys of a lease.
const maxLeaseResponseBytes = 100 << 20

// byLeader has a question answered by the leader: by here where this member
// leads, by there, which is given its peer URLs one after the other, elsewhere.
// It goes on, whoever leads, until there is an answer, the lease turns out not to
// exist, or the time for a request is over. Errors: lessor.ErrNotFound,
// errTimeout, errCanceled, and the statuses for no leader and for stopping.
func (s *leaseService) byLeader(ctx context.Context, here func(context.Context) error, there func(ctx context.Context, url string) error) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	for {
		switch leader := s.log.Leader(); leader {
		case 0:
		case s.memberID:
			err := here(ctx)
			if err == nil || ctx.Err() == nil && !wrongLeader(err) {
				return err
			}
		default:
			err := s.askMember(ctx, leader, there)
			if err == nil || errors.Is(err, lessor.ErrNotFound) {
				return err
			}
		}
		if err := s.pause(ctx, leaseRetryInterval); err != nil {
			return err
		}
	}
}

// wrongLeader says that another member may answer, or this one a moment later.
func wrongLeader(err error) bool {
	return errors.Is(err, lessor.ErrNotPrimary) || errors.Is(err, errNotLeader) || errors.Is(err, raftlog.ErrNotLeader)
}

// askMember asks the leader at its peer URLs until one answers, while it leads.
func (s *leaseService) askMember(ctx context.Context, id uint64, ask func(ctx context.Context, url string) error) error {
	member, known := s.store.Member(id)
	if !known || len(member.PeerURLs) == 0 {
		return errNotLeader
	}
	ctx, done, err := s.asked.while(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	for _, url := range member.PeerURLs {
		if err = ask(ctx, url); err == nil || errors.Is(err, lessor.ErrNotFound) {
			return err
		}
	}
	return err
}

// renewAt has the leader renew a lease.
func (s *leaseService) renewAt(ctx context.Context, url string, id int64) (ttl int64, err error) {
	answer := new(pb.LeaseKeepAliveResponse)
	if err := s.ask(ctx, url+leasesPath, &pb.LeaseKeepAliveRequest{ID: id}, answer); err != nil {
		return 0, err
	}
	if answer.ID != id {
		return 0, fmt.Errorf("etcdapi: asked for lease %x, got lease %x", id, answer.ID)
	}
	return answer.TTL, nil
}

// timeToLiveAt asks the leader about a lease.
func (s *leaseService) timeToLiveAt(ctx context.Context, url string, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	answer := new(leasepb.LeaseInternalResponse)
	question := &leasepb.LeaseInternalRequest{LeaseTimeToLiveRequest: r}
	if err := s.ask(ctx, url+leasesInternalPath, question, answer); err != nil {
		return nil, err
	}
	if got := answer.GetLeaseTimeToLiveResponse(); got.GetID() != r.ID {
		return nil, fmt.Errorf("etcdapi: asked for lease %x, got lease %x", r.ID, got.GetID())
	}
	return answer.LeaseTimeToLiveResponse, nil
}

// ask posts a question to another member and decodes its answer. Errors:
// lessor.ErrNotFound, errTimeoutApplied, and those of the connection.
func (s *leaseService) ask(ctx context.Context, url string, question, answer proto.Message) error {
	body, err := proto.Marshal(question)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/protobuf")
	got, err := s.peers.do(r, maxLeaseResponseBytes)
	switch {
	case err != nil:
		return err
	case got.status == http.StatusNotFound && bytes.Contains(got.body, []byte(leaseNotFoundText)):
		return lessor.ErrNotFound // and not an endpoint that is not there yet
	case got.status == http.StatusRequestTimeout:
		return errTimeoutApplied
	case got.status != http.StatusOK:
		return fmt.Errorf("etcdapi: %s answers %d: %s", url, got.status, bytes.TrimSpace(got.body))
	}
	if err := proto.Unmarshal(got.body, answer); err != nil {
		return fmt.Errorf("etcdapi: answer of %s: %w", url, err)
	}
	return nil
}
