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
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
)

// hashKVPath is where members ask each other for hashes, as etcd's do.
const hashKVPath = "/members/hashkv"

// clusterIDHeader keeps members of different clusters apart.
const clusterIDHeader = "X-Etcd-Cluster-ID"

// Texts by which an etcd member knows why it got no hash.
const (
	compactedText       = "mvcc: required revision has been compacted"
	futureRevisionText  = "mvcc: required revision is a future revision"
	clusterMismatchText = "cluster ID mismatch"
)

const (
	// maxHashMessageBytes bounds a question for a hash and its answer.
	maxHashMessageBytes = 64 << 10
	// maxPeerHashes is how many hashes are made for other members at a time; more
	// wait. Each reads the whole history.
	maxPeerHashes = 2
)

var errClusterMismatch = errors.New("etcdapi: cluster ID mismatch")

// peerHash is a member's hash at a revision that it was asked for, or why there
// is none.
type peerHash struct {
	id   types.ID
	name string
	urls []string
	hash sqlstore.HashResult
	err  error
}

func (p peerHash) fields() []zap.Field {
	return append(hashFields("remote-peer", p.hash), zap.Stringer("remote-peer-id", p.id),
		zap.String("remote-peer-name", p.name), zap.Strings("remote-peer-endpoints", p.urls), zap.Error(p.err))
}

// others are the other members, in the order of their ids.
func (c *corruption) others() []peerHash {
	var peers []peerHash
	for _, m := range c.store.Members() {
		if m.ID != c.memberID && len(m.PeerURLs) > 0 {
			peers = append(peers, peerHash{id: types.ID(m.ID), name: m.Name, urls: m.PeerURLs})
		}
	}
	return peers
}

// askAll asks all other members for their hash at a revision, all at a time, and
// returns what each one answered.
func (c *corruption) askAll(ctx context.Context, revision int64) []peerHash {
	peers := c.others()
	var asking sync.WaitGroup
	for i := range peers {
		asking.Go(func() { c.ask(ctx, &peers[i], revision) })
	}
	asking.Wait()
	return peers
}

// ask asks a member at one of its URLs after the other, each within the time for
// a request.
func (c *corruption) ask(ctx context.Context, p *peerHash, revision int64) {
	for _, url := range p.urls {
		bounded, cancel := context.WithTimeout(ctx, c.opts.requestTimeout())
		p.hash, p.err = c.askAt(bounded, url, revision)
		cancel()
		if p.err == nil {
			return
		}
	}
}

// askAt asks for a hash at a URL. Errors: sqlstore.ErrCompacted,
// sqlstore.ErrFutureRevision, errClusterMismatch, and those of the connection.
func (c *corruption) askAt(ctx context.Context, url string, revision int64) (sqlstore.HashResult, error) {
	question, err := json.Marshal(&pb.HashKVRequest{Revision: revision})
	if err != nil {
		return sqlstore.HashResult{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+hashKVPath, bytes.NewReader(question))
	if err != nil {
		return sqlstore.HashResult{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(clusterIDHeader, types.ID(c.clusterID).String())
	got, err := c.peers.do(r, maxHashMessageBytes)
	if err != nil {
		return sqlstore.HashResult{}, err
	}
	return decodeHash(got)
}

func decodeHash(got peerAnswer) (sqlstore.HashResult, error) {
	says := func(text string) bool { return bytes.Contains(got.body, []byte(text)) }
	switch {
	case got.status == http.StatusBadRequest && says(compactedText):
		return sqlstore.HashResult{}, sqlstore.ErrCompacted
	case got.status == http.StatusBadRequest && says(futureRevisionText):
		return sqlstore.HashResult{}, sqlstore.ErrFutureRevision
	case got.status == http.StatusPreconditionFailed && says(clusterMismatchText):
		return sqlstore.HashResult{}, errClusterMismatch
	case got.status != http.StatusOK:
		return sqlstore.HashResult{}, fmt.Errorf("etcdapi: a member asked for a hash answers %d: %s",
			got.status, bytes.TrimSpace(got.body))
	}
	answer := new(pb.HashKVResponse)
	if err := json.Unmarshal(got.body, answer); err != nil {
		return sqlstore.HashResult{}, fmt.Errorf("etcdapi: a member's hash: %w", err)
	}
	return sqlstore.HashResult{
		Hash: answer.Hash, CompactRevision: answer.CompactRevision, HashRevision: answer.HashRevision,
		Current: answer.GetHeader().GetRevision(),
	}, nil
}

// hashKVHandler answers members that ask for this one's hash at a revision. It
// is mounted at hashKVPath of the listener for peers.
func (s *Server) hashKVHandler() http.Handler {
	hashing := make(chan struct{}, maxPeerHashes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowGet(w, r) {
			return
		}
		own := types.ID(s.clusterID).String()
		if theirs := r.Header.Get(clusterIDHeader); theirs != "" && theirs != own {
			http.Error(w, clusterMismatchText, http.StatusPreconditionFailed)
			return
		}
		body, ok := readBody(w, r, maxHashMessageBytes)
		if !ok {
			return
		}
		question := new(pb.HashKVRequest)
		if err := json.Unmarshal(body, question); err != nil {
			http.Error(w, "error unmarshalling request", http.StatusBadRequest)
			return
		}
		// The request's context tells nothing: it ends when the listener, which is
		// rafthttp's, has read nothing more for five seconds.
		ctx, cancel := context.WithTimeout(s.stop, s.opts.requestTimeout())
		defer cancel()
		select {
		case hashing <- struct{}{}:
			defer func() { <-hashing }()
		case <-ctx.Done():
			http.Error(w, ctx.Err().Error(), http.StatusServiceUnavailable)
			return
		}
		hash, err := s.corruption.hashes.HashKV(ctx, question.Revision)
		if err != nil {
			http.Error(w, hashRefusal(err), http.StatusBadRequest)
			return
		}
		w.Header().Set(clusterIDHeader, own)
		w.Header().Set("Content-Type", "application/json")
		s.reply(w, &pb.HashKVResponse{
			Header: &pb.ResponseHeader{Revision: hash.Current},
			Hash:   hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.HashRevision,
		})
	})
}

// hashRefusal is what a member that asked for a hash is told instead.
func hashRefusal(err error) string {
	switch {
	case errors.Is(err, sqlstore.ErrCompacted):
		return compactedText
	case errors.Is(err, sqlstore.ErrFutureRevision):
		return futureRevisionText
	}
	return err.Error()
}
