// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// The cluster's version is the lowest of its members' and is what they all can do.
// The leader asks them and sets it, through the log.

// maxVersionBytes bounds a member's answer about its version.
const maxVersionBytes = 64 << 10

// updateClusterVersion sets the cluster's version, or raises it to the lowest of
// the members', as the leader of a term: what a later leader has set stays.
func (s *Server) updateClusterVersion(term uint64) {
	next := s.nextClusterVersion()
	if next == "" {
		return
	}
	_, err := s.proposeInTerm(s.stop, term, wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: next})
	if err != nil {
		if s.stop.Err() == nil {
			s.opts.Logger.Warn("failed to update cluster version", zap.Error(err))
		}
		return
	}
	s.opts.Logger.Info("cluster version is updated", zap.String("cluster-version", version.Cluster(next)))
}

// nextClusterVersion is the version to set, empty to leave it. While it is not
// decided and a member can't be asked it is the lowest there is, as in etcd.
func (s *Server) nextClusterVersion() string {
	lowest, err := s.lowestVersion()
	current, undecided := semver.NewVersion(s.store.ClusterVersion())
	switch {
	case undecided != nil && err != nil:
		return version.MinClusterVersion
	case err != nil:
		s.opts.Logger.Debug("cannot decide the cluster version", zap.Error(err))
		return ""
	case undecided == nil && !current.LessThan(*lowest):
		return ""
	}
	return lowest.String()
}

// lowestVersion is the lowest major and minor version of the members. The error
// tells which of them could not be asked.
func (s *Server) lowestVersion() (*semver.Version, error) {
	own := semver.New(version.Version)
	lowest := &semver.Version{Major: own.Major, Minor: own.Minor}
	for _, m := range s.store.Members() {
		if m.ID == s.memberID {
			continue
		}
		v, err := s.versionOf(m)
		if err != nil {
			return nil, fmt.Errorf("version of member %x: %w", m.ID, err)
		}
		if own.LessThan(*v) {
			s.opts.Logger.Warn("leader found higher-versioned member", zap.String("local-member-version", version.Version),
				zap.Stringer("remote-member-id", types.ID(m.ID)), zap.String("remote-member-version", v.String()))
		}
		if v = (&semver.Version{Major: v.Major, Minor: v.Minor}); v.LessThan(*lowest) {
			lowest = v
		}
	}
	return lowest, nil
}

// versionOf asks a member for the version of its server.
func (s *Server) versionOf(m sqlstore.Member) (*semver.Version, error) {
	err := errors.New("it has no peer URL")
	for _, url := range m.PeerURLs {
		var v *semver.Version
		if v, err = s.versionAt(url); err == nil {
			return v, nil
		}
	}
	return nil, err
}

func (s *Server) versionAt(url string) (*semver.Version, error) {
	ctx, cancel := context.WithTimeout(s.stop, s.opts.requestTimeout())
	defer cancel()
	got, err := s.peers.get(ctx, url+versionPath, maxVersionBytes)
	if err != nil {
		return nil, err
	}
	var answer version.Versions
	if err := json.Unmarshal(got.body, &answer); err != nil {
		return nil, fmt.Errorf("answer of %s%s: %w", url, versionPath, err)
	}
	return semver.NewVersion(answer.Server)
}
