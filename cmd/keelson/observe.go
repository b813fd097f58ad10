// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson.io/keelson/metrics"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/registry"
	"keelson.io/keelson/sqlstore"
)

// observed is what metrics read at a scrape. Its parts are set as they open.
type observed struct {
	store atomic.Pointer[sqlstore.Store]
	log   atomic.Pointer[raftlog.Log]
}

func (o *observed) storeStats() metrics.StoreStats {
	store := o.store.Load()
	if store == nil {
		return metrics.StoreStats{}
	}
	s := store.Stats()
	return metrics.StoreStats{
		Keys: s.Keys, Revision: s.Revision, CompactRevision: s.CompactRevision, CompactedVersions: s.CompactedRows,
		DBBytes: s.DB.TotalBytes, DBInUseBytes: s.DB.TotalBytes - s.DB.FreeBytes, WALBytes: s.DB.WALBytes,
		BacklogBytes: s.DB.BacklogBytes, BacklogRows: int64(s.DB.BacklogRows), WriterFailing: s.DB.Err != nil,
		CommittedRows: s.DB.CommittedRows, Checkpoints: s.DB.Checkpoints, PendingDeletes: s.DB.PendingDeletes,
		VacuumedPages: s.DB.VacuumedPages,
		CacheBytes:    s.CacheBytes, CacheHits: s.CacheHits, CacheMisses: s.CacheMisses,
		WatchStreams: s.WatchStreams, Watchers: s.Watchers, SlowWatchers: s.LaggingWatchers,
		Events: s.Events, PendingEvents: s.PendingEvents, WatchBacklogBytes: s.WatchBacklogBytes,
	}
}

func (o *observed) raftStats() metrics.RaftStats {
	log := o.log.Load()
	if log == nil {
		return metrics.RaftStats{}
	}
	s := log.Status()
	return metrics.RaftStats{
		HasLeader: s.Leader != 0, IsLeader: s.Lead, Committed: s.CommitIndex, Applied: s.AppliedIndex,
		PendingProposals: int64(s.PendingProposals),
	}
}

// memberStats are what the log knows of the members, as their leader. The
// leader's own progress is where its log ends.
func (o *observed) memberStats() []metrics.MemberStats {
	log := o.log.Load()
	if log == nil {
		return nil
	}
	progress, last := log.Progress(), uint64(0)
	for _, p := range progress {
		last = max(last, p.Match)
	}
	var all []metrics.MemberStats
	for _, p := range progress {
		all = append(all, metrics.MemberStats{
			ID: p.ID, Lag: last - p.Match, Active: p.RecentActive, Learner: p.Learner, SnapshotPending: p.PendingSnapshot != 0,
		})
	}
	return all
}

// logEvents counts what happens to the log.
func logEvents(m *metrics.Raft) raftlog.Events {
	return raftlog.Events{
		LeaderChanged: func(leader, _ uint64) {
			if leader != 0 {
				m.LeaderChanges.Inc()
			}
		},
		ProposalFailed:  func(error) { m.ProposalsFailed.Inc() },
		ReadIndexSlow:   func() { m.SlowReadIndexes.Inc() },
		ReadIndexFailed: func(error) { m.ReadIndexesFailed.Inc() },
		HeartbeatLate:   func(time.Duration) { m.HeartbeatSendFailures.Inc() },
	}
}

// account returns what keeps the figures by Kubernetes resource.
func account(reg prometheus.Registerer) func(sqlstore.Change) {
	accountant := registry.NewAccountant(registry.DefaultMaxResources)
	reg.MustRegister(accountant)
	ops := map[sqlstore.ChangeKind]registry.Op{
		sqlstore.ChangePut: registry.OpPut, sqlstore.ChangeDelete: registry.OpDelete,
		sqlstore.ChangeCompact: registry.OpCompact, sqlstore.ChangeLoad: registry.OpLoad,
	}
	return func(c sqlstore.Change) {
		if c.Kind == sqlstore.ChangeReset {
			accountant.Reset()
			return
		}
		accountant.Observe(registry.Write{
			Key: c.Key, OldSize: c.OldSize, NewSize: c.NewSize, History: c.History, Op: ops[c.Kind],
		})
	}
}
