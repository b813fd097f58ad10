// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"net/http"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/lessor"
)

// The endpoints at which a member asks the leader about leases, as etcd has them.
const (
	leasesPath         = "/leases"
	leasesInternalPath = "/leases/internal"
)

// Texts by which an etcd member knows why it was refused.
const (
	leaseNotFoundText   = "lease not found"
	leaseNotPrimaryText = "not a primary lessor"
	leaseTimeoutText    = "waiting for node to catch up its applied index has timed out"
)

// maxLeaseRequestBytes bounds a question about a lease, which carries an id.
const maxLeaseRequestBytes = 64 << 10

// leasesHandler answers members that ask this one, as the leader, to renew a
// lease or how long it lasts. It is mounted at leasesPath and leasesInternalPath
// of the listener for peers.
func (s *Server) leasesHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(leasesPath, func(w http.ResponseWriter, r *http.Request) {
		question := new(pb.LeaseKeepAliveRequest)
		serveLease(w, r, question, func(ctx context.Context) (proto.Message, error) {
			ttl, err := s.leases.renewHere(ctx, question.ID)
			return &pb.LeaseKeepAliveResponse{ID: question.ID, TTL: ttl}, err
		})
	})
	mux.HandleFunc(leasesInternalPath, func(w http.ResponseWriter, r *http.Request) {
		question := new(leasepb.LeaseInternalRequest)
		serveLease(w, r, question, func(ctx context.Context) (proto.Message, error) {
			answer, err := s.leases.timeToLiveHere(ctx, question.GetLeaseTimeToLiveRequest())
			return &leasepb.LeaseInternalResponse{LeaseTimeToLiveResponse: answer}, err
		})
	})
	return mux
}

// serveLease reads a question, has it answered and writes what came of it, with
// the statuses that an etcd member expects.
func serveLease(w http.ResponseWriter, r *http.Request, question proto.Message, answer func(context.Context) (proto.Message, error)) {
	if r.Method != http.MethodPost {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	body, ok := readBody(w, r, maxLeaseRequestBytes)
	if !ok {
		return
	}
	if err := proto.Unmarshal(body, question); err != nil {
		http.Error(w, "error unmarshalling request", http.StatusBadRequest)
		return
	}
	response, err := answer(r.Context())
	if err != nil {
		text, status := leaseRefusal(err)
		http.Error(w, text, status)
		return
	}
	data, err := proto.Marshal(response)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/protobuf")
	_, _ = w.Write(data) // an asker that has gone asks again
}

// leaseRefusal is what a member that asked about a lease is told instead. On
// anything but "not found" it asks again, whoever leads then.
func leaseRefusal(err error) (text string, status int) {
	switch {
	case errors.Is(err, lessor.ErrNotFound):
		return leaseNotFoundText, http.StatusNotFound
	case errors.Is(err, errTimeoutApplied):
		return leaseTimeoutText, http.StatusRequestTimeout
	case wrongLeader(err):
		return leaseNotPrimaryText, http.StatusInternalServerError
	}
	return err.Error(), http.StatusBadRequest
}
