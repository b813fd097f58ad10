// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"net/http"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"keelson.io/keelson/raftlog/peer"
)

// Paths of the listener for members, beside those that have a file of their own.
const (
	raftPath             = "/raft"
	membersPath          = "/members"
	versionPath          = "/version"
	downgradeEnabledPath = "/downgrade/enabled"
)

// PeerHandler answers the other members of the cluster, by etcd's endpoints: raft
// takes what is below /raft, and this member what members ask each other besides.
// Every answer says that a keelson gives it: an etcd can't take its snapshots.
func (s *Server) PeerHandler(raft http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(raftPath, raft)
	mux.Handle(raftPath+"/", raft)
	mux.Handle(membersPath, s.ofCluster(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		s.cluster.writeMembers(w)
	}))
	mux.Handle(promotePrefix, s.patiently(s.ofCluster(http.MethodPost, s.cluster.servePromote)))
	mux.Handle(hashKVPath, s.patiently(s.hashKVHandler()))
	mux.Handle(leasesPath, s.patiently(s.leasesHandler()))
	mux.Handle(leasesInternalPath, s.patiently(s.leasesHandler()))
	mux.Handle(downgradeEnabledPath, s.patiently(s.ofCluster(http.MethodGet, s.serveDowngradeEnabled)))
	mux.HandleFunc(versionPath, s.serveVersion)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(peer.KeelsonHeader, s.opts.Version)
		mux.ServeHTTP(w, r)
	})
}

// patiently gives a question of a member the time of a request. The connection's
// own context would end it sooner: members' connections on which nothing is read
// for some seconds are given up, and who waits for an answer sends nothing.
func (s *Server) patiently(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.opts.requestTimeout())
		defer cancel()
		defer context.AfterFunc(s.stop, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// ofCluster serves one method, and says in the answer of which cluster it is.
func (s *Server) ofCluster(method string, serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set(clusterIDHeader, types.ID(s.clusterID).String())
		serve(w, r)
	})
}

// serveDowngradeEnabled tells whether the cluster is to be downgraded.
func (s *Server) serveDowngradeEnabled(w http.ResponseWriter, r *http.Request) {
	if err := s.linearize(r.Context()); err != nil {
		http.Error(w, fmt.Sprintf("failed linearized read: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	// Whoever asked has gone if this fails.
	_, _ = fmt.Fprint(w, s.store.Downgrade().Enabled)
}
