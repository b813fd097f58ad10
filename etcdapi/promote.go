// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"google.golang.org/grpc/status"
)

// promotePrefix is where members ask the leader to promote a learner; its id
// follows, in decimal. etcd's members do.
const promotePrefix = "/members/promote/"

// maxMembersBytes bounds what a member answers about the membership.
const maxMembersBytes = 8 << 20

// promoteRetryInterval is the wait before whoever leads then is asked again.
const promoteRetryInterval = 50 * time.Millisecond

// promoteByLeader has the leader promote a learner, whoever it is by the time; it
// may have become this member.
func (s *clusterService) promoteByLeader(ctx context.Context, id uint64) ([]*pb.Member, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	for {
		leader, known := s.store.Member(s.log.Leader())
		if known && leader.ID == s.memberID {
			if err := s.promoteHere(ctx, id); !errors.Is(err, errNotLeader) {
				return s.list(), err
			}
			leader.PeerURLs = nil
		}
		for _, url := range leader.PeerURLs {
			members, err := s.promoteAt(ctx, url, id)
			if err == nil || refusedPromotion(err) {
				return members, err
			}
		}
		if err := s.pause(ctx, promoteRetryInterval); err != nil {
			return nil, err
		}
	}
}

// promotionRefusals are the errors of a leader that another one would repeat,
// with the status of its answer.
var promotionRefusals = []struct {
	err    error
	status int
}{
	{membership.ErrIDNotFound, http.StatusNotFound},
	{membership.ErrMemberNotLearner, http.StatusPreconditionFailed},
	{rpctypes.ErrGRPCLearnerNotReady, http.StatusPreconditionFailed},
}

func refusedPromotion(err error) bool {
	for _, refusal := range promotionRefusals {
		if errors.Is(err, refusal.err) {
			return true
		}
	}
	return false
}

// promoteAt asks the member at a URL to promote a learner.
func (s *clusterService) promoteAt(ctx context.Context, url string, id uint64) ([]*pb.Member, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+promotePrefix+strconv.FormatUint(id, 10), nil)
	if err != nil {
		return nil, err
	}
	got, err := s.peers.do(r, maxMembersBytes)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		for _, refusal := range promotionRefusals {
			if got.status == refusal.status && bytes.Contains(got.body, []byte(status.Convert(refusal.err).Message())) {
				return nil, refusal.err
			}
		}
		return nil, fmt.Errorf("etcdapi: %s answers %d: %s", r.URL, got.status, bytes.TrimSpace(got.body))
	}
	members, err := decodeMembers(got.body)
	if err != nil {
		return nil, fmt.Errorf("etcdapi: answer of %s: %w", r.URL, err)
	}
	var all []*pb.Member
	for _, m := range members {
		all = append(all, &pb.Member{
			ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
		})
	}
	return all, nil
}

// servePromote answers a member that asks for a promotion. It does not pass the
// question on: two members that each take the other for the leader would send it
// to and fro. Who asked looks again for the leader.
func (s *clusterService) servePromote(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimPrefix(r.URL.Path, promotePrefix)
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		http.Error(w, fmt.Sprintf("member %s not found in cluster", text), http.StatusNotFound)
		return
	}
	// Not the request's context: it ends when rafthttp's listener has read nothing
	// more for five seconds.
	if err := s.promoteHere(s.stop, id); err != nil {
		code := http.StatusInternalServerError
		for _, refusal := range promotionRefusals {
			if errors.Is(err, refusal.err) {
				code = refusal.status
			}
		}
		http.Error(w, status.Convert(err).Message(), code)
		return
	}
	s.writeMembers(w)
}

// writeMembers writes the members as etcd's JSON.
func (s *clusterService) writeMembers(w http.ResponseWriter) {
	data, err := json.Marshal(clusterOf(s.store, s.opts).Members())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// Whoever asked has gone if this fails.
	_, _ = w.Write(append(data, '\n'))
}
