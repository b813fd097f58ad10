// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/membershippb"
	serverversion "go.etcd.io/etcd/server/v3/etcdserver/version"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore/wire"
)

// What a server does for its cluster on its own account.

// retryInterval is the wait before something that the log refused is proposed
// again.
const retryInterval = 500 * time.Millisecond

// versionInterval is how often the leader looks whether the cluster's version
// can be set or raised.
const versionInterval = 4 * time.Second

// publish tells the cluster this member's name and client URLs, as often as it
// takes, and then declares the server ready.
func (s *Server) publish() {
	attributes := &membershippb.ClusterMemberAttrSetRequest{
		Member_ID:        s.memberID,
		MemberAttributes: &membershippb.Attributes{Name: s.opts.Name, ClientUrls: s.opts.ClientURLs},
	}
	for {
		_, err := s.proposeMessage(s.stop, wire.KindClusterMemberAttrSet, attributes)
		if err == nil {
			break
		}
		if s.stop.Err() != nil {
			return
		}
		s.opts.Logger.Warn("failed to publish local member to cluster through raft",
			zap.String("local-member-id", fmt.Sprintf("%x", s.memberID)), zap.Error(err))
		if !s.sleep(retryInterval) {
			return
		}
	}
	s.opts.Logger.Info("published local member to cluster through raft",
		zap.String("local-member-id", fmt.Sprintf("%x", s.memberID)),
		zap.String("cluster-id", fmt.Sprintf("%x", s.clusterID)),
		zap.String("name", s.opts.Name), zap.Strings("client-urls", s.opts.ClientURLs))
	s.leases.quota.inherit()
	close(s.ready)
}

// sleep waits for d; false when the server stops meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	timer := s.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return true
	case <-s.stop.Done():
		return false
	}
}

// lead looks after the versions of cluster and storage, and what metrics show of
// the cluster, until the server stops.
func (s *Server) lead() {
	ticker := s.opts.Clock.NewTicker(versionInterval)
	defer ticker.Stop()
	members := shownMembership{core: s.core}
	for {
		s.updateVersions()
		s.showAlarms()
		members.show()
		select {
		case <-s.promoted:
		case <-ticker.Chan():
		case <-s.stop.Done():
			return
		}
	}
}

// updateVersions brings the cluster's version up to date if this member leads, and
// its own storage's.
func (s *Server) updateVersions() {
	term, leads := s.leadingTerm()
	v := versions{s.core, term}
	s.storage.CompareAndSwap(nil, v.GetStorageVersion()) // what it is to be changed from
	monitor := serverversion.NewMonitor(s.opts.Logger, v)
	if leads {
		if err := monitor.UpdateClusterVersionIfNeeded(); err != nil {
			s.opts.Logger.Error("Failed to monitor cluster version", zap.Error(err))
		}
	}
	monitor.UpdateStorageVersionIfNeeded()
}

// leadingTerm returns the term in which this member leads, once it has applied
// everything of earlier ones.
func (s *Server) leadingTerm() (term uint64, leads bool) {
	term = s.log.Term()
	_, applied := s.store.Applied()
	return term, s.log.Leader() == s.memberID && applied == term
}

// showAlarms tells the metric of alarms what is raised.
func (s *Server) showAlarms() {
	s.metrics.Alarms.Reset()
	for _, a := range s.alarms() {
		s.metrics.Alarms.WithLabelValues(fmt.Sprintf("%x", a.MemberID), a.Alarm.String()).Set(1)
	}
}
