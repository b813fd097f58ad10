// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// Member is a member of the cluster, in the JSON form that etcd's log and
// snapshots carry.
type Member struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

// Downgrade is what the cluster was told about being downgraded, in etcd's JSON
// form. The zero value says that it is not.
type Downgrade struct {
	TargetVersion string `json:"target-version"`
	Enabled       bool   `json:"enabled"`
}

// MembershipChange is what a configuration entry of the log does. ConfState
// is the encoded raftpb.ConfState after it, opaque here.
type MembershipChange struct {
	ConfState []byte
	Put       *Member // nil: none
	Remove    uint64  // 0: none
}

// clusterState is the part of the state that is about the cluster itself.
type clusterState struct {
	mu        sync.RWMutex
	members   map[uint64]Member
	removed   map[uint64]struct{}
	alarms    map[alarmKey]struct{}
	version   string
	downgrade Downgrade
	confState []byte
}

type alarmKey struct {
	member uint64
	alarm  pb.AlarmType
}

// recover makes it what a database holds. After an error it is of no use.
func (c *clusterState) recover(state sqldb.State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = make(map[uint64]Member)
	c.removed = make(map[uint64]struct{})
	c.alarms = make(map[alarmKey]struct{})
	c.version = state.Settings[sqldb.SettingClusterVersion].Text
	c.confState = state.Settings[sqldb.SettingConfState].Blob
	c.downgrade = Downgrade{}
	if text := state.Settings[sqldb.SettingDowngrade].Text; text != "" {
		if err := json.Unmarshal([]byte(text), &c.downgrade); err != nil {
			return fmt.Errorf("sqlstore: downgrade %q: %w", text, err)
		}
	}
	for _, r := range state.Members {
		if r.Removed {
			c.removed[r.ID] = struct{}{}
			continue
		}
		var m Member
		if err := json.Unmarshal(r.JSON, &m); err != nil {
			return fmt.Errorf("sqlstore: member %x: %w", r.ID, err)
		}
		c.members[r.ID] = m
	}
	for _, a := range state.Alarms {
		kind, err := backend.AlarmType(a.Kind)
		if err != nil {
			return fmt.Errorf("sqlstore: %w", err)
		}
		c.alarms[alarmKey{a.MemberID, kind}] = struct{}{}
	}
	return nil
}

// ApplyMembership applies a configuration entry.
func (s *Store) ApplyMembership(index, term uint64, change MembershipChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.applied.index {
		return nil
	}
	if change.Put != nil {
		if err := s.putMember(*change.Put); err != nil {
			return err
		}
	}
	if id := change.Remove; id != 0 {
		s.cluster.mu.Lock()
		delete(s.cluster.members, id)
		s.cluster.removed[id] = struct{}{}
		s.cluster.mu.Unlock()
		s.batch.Members = append(s.batch.Members, sqldb.MemberChange{Op: sqldb.Put, Member: sqldb.Member{ID: id, Removed: true}})
	}
	if change.ConfState != nil {
		s.cluster.mu.Lock()
		s.cluster.confState = change.ConfState
		s.cluster.mu.Unlock()
		s.batch.Settings = append(s.batch.Settings, sqldb.Setting{Name: sqldb.SettingConfState, Blob: change.ConfState})
	}
	s.applied = position{index, term}
	return s.finishBatch()
}

func (s *Store) putMember(m Member) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("sqlstore: member %x: %w", m.ID, err)
	}
	s.cluster.mu.Lock()
	s.cluster.members[m.ID] = m
	s.cluster.mu.Unlock()
	s.batch.Members = append(s.batch.Members, sqldb.MemberChange{Op: sqldb.Put, Member: sqldb.Member{ID: m.ID, JSON: data}})
	return nil
}

// applyCluster applies the requests that are about the cluster and reports
// whether r was one. They count whatever alarms are raised.
func (s *Store) applyCluster(r *pb.InternalRaftRequest) bool {
	switch {
	case r.ClusterVersionSet != nil:
		s.cluster.mu.Lock()
		s.cluster.version = r.ClusterVersionSet.Ver
		s.cluster.mu.Unlock()
		s.batch.Settings = append(s.batch.Settings, sqldb.Setting{Name: sqldb.SettingClusterVersion, Text: r.ClusterVersionSet.Ver})
	case r.ClusterMemberAttrSet != nil:
		set := r.ClusterMemberAttrSet
		m, ok := s.Member(set.Member_ID)
		if !ok || set.MemberAttributes == nil {
			return true // removed meanwhile
		}
		m.Name, m.ClientURLs = set.MemberAttributes.Name, set.MemberAttributes.ClientUrls
		if err := s.putMember(m); err != nil {
			panic(err) // a struct of strings and numbers always encodes
		}
	case r.DowngradeInfoSet != nil:
		s.setDowngrade(r.DowngradeInfoSet)
	case r.DowngradeVersionTest != nil: // it does nothing in etcd either
	default:
		return false
	}
	return true
}

func (s *Store) setDowngrade(r *membershippb.DowngradeInfoSetRequest) {
	var d Downgrade
	if r.Enabled {
		d = Downgrade{Enabled: true, TargetVersion: r.Ver}
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // a struct of a string and a bool always encodes
	}
	s.cluster.mu.Lock()
	s.cluster.downgrade = d
	s.cluster.mu.Unlock()
	s.batch.Settings = append(s.batch.Settings, sqldb.Setting{Name: sqldb.SettingDowngrade, Text: string(text)})
}

// Member returns one member.
func (s *Store) Member(id uint64) (Member, bool) {
	s.cluster.mu.RLock()
	defer s.cluster.mu.RUnlock()
	m, ok := s.cluster.members[id]
	return m, ok
}

// Members returns the members in the order of their ids.
func (s *Store) Members() []Member { return s.cluster.memberList() }

func (c *clusterState) memberList() []Member {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]Member, 0, len(c.members))
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		out = append(out, c.members[id])
	}
	return out
}

// Removed returns the ids of members that were removed, in order.
func (s *Store) Removed() []uint64 { return s.cluster.removedList() }

func (c *clusterState) removedList() []uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Sorted(maps.Keys(c.removed))
}

// ClusterVersion returns the version the cluster agreed on, empty before it did.
func (s *Store) ClusterVersion() string {
	s.cluster.mu.RLock()
	defer s.cluster.mu.RUnlock()
	return s.cluster.version
}

// Downgrade returns whether the cluster is to be downgraded, and to what.
func (s *Store) Downgrade() Downgrade {
	s.cluster.mu.RLock()
	defer s.cluster.mu.RUnlock()
	return s.cluster.downgrade
}

// ConfState returns the encoded raftpb.ConfState of the applied index, nil if
// none was ever applied.
func (s *Store) ConfState() []byte {
	s.cluster.mu.RLock()
	defer s.cluster.mu.RUnlock()
	return s.cluster.confState
}

// Alarms returns the raised alarms of a kind, of all kinds for AlarmType_NONE,
// in the order of member and kind.
func (s *Store) Alarms(kind pb.AlarmType) []*pb.AlarmMember {
	s.cluster.mu.RLock()
	defer s.cluster.mu.RUnlock()
	keys := slices.SortedFunc(maps.Keys(s.cluster.alarms), func(a, b alarmKey) int {
		if a.member != b.member {
			if a.member < b.member {
				return -1
			}
			return 1
		}
		return int(a.alarm) - int(b.alarm)
	})
	var out []*pb.AlarmMember
	for _, k := range keys {
		if kind == pb.AlarmType_NONE || kind == k.alarm {
			out = append(out, &pb.AlarmMember{MemberID: k.member, Alarm: k.alarm})
		}
	}
	return out
}

func (s *Store) alarmed(kind pb.AlarmType) bool {
	if len(s.cluster.alarms) == 0 { // only apply changes it, and apply asks
		return false
	}
	return len(s.Alarms(kind)) > 0
}

// applyAlarm raises, disarms or lists alarms. Raising one twice answers with
// it again, disarming one that is not raised with none.
func (s *Store) applyAlarm(r *pb.AlarmRequest) *pb.AlarmResponse {
	resp := &pb.AlarmResponse{}
	key := alarmKey{r.MemberID, r.Alarm}
	change := sqldb.AlarmChange{Alarm: sqldb.Alarm{MemberID: r.MemberID, Kind: r.Alarm.String()}}
	s.cluster.mu.Lock()
	_, raised := s.cluster.alarms[key]
	s.cluster.mu.Unlock()
	switch r.Action {
	case pb.AlarmRequest_GET:
		resp.Alarms = s.Alarms(r.Alarm)
		return resp
	case pb.AlarmRequest_ACTIVATE:
		if r.Alarm == pb.AlarmType_NONE {
			return resp
		}
		change.Op = sqldb.Put
		s.cluster.mu.Lock()
		s.cluster.alarms[key] = struct{}{}
		s.cluster.mu.Unlock()
	case pb.AlarmRequest_DEACTIVATE:
		if !raised {
			return resp
		}
		change.Op = sqldb.Delete
		s.cluster.mu.Lock()
		delete(s.cluster.alarms, key)
		s.cluster.mu.Unlock()
	default:
		return resp
	}
	s.batch.Alarms = append(s.batch.Alarms, change)
	resp.Alarms = []*pb.AlarmMember{{MemberID: r.MemberID, Alarm: r.Alarm}}
	return resp
}
