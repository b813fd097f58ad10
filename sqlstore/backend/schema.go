// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/sqldb"
)

// The names of etcd's buckets.
const (
	keyBucket            = "key"
	metaBucket           = "meta"
	leaseBucket          = "lease"
	alarmBucket          = "alarm"
	clusterBucket        = "cluster"
	membersBucket        = "members"
	membersRemovedBucket = "members_removed"
	authBucket           = "auth"
	authUsersBucket      = "authUsers"
	authRolesBucket      = "authRoles"
)

// The names of keys in the buckets meta, cluster and auth.
const (
	consistentIndexKey  = "consistent_index"
	termKey             = "term"
	confStateKey        = "confState"
	scheduledCompactKey = "scheduledCompactRev"
	finishedCompactKey  = "finishedCompactRev"
	storageVersionKey   = "storageVersion"
	clusterVersionKey   = "clusterVersion"
	downgradeKey        = "downgrade"
	authEnabledKey      = "authEnabled"
	authRevisionKey     = "authRevision"
)

var allBuckets = []string{
	keyBucket, metaBucket, leaseBucket, alarmBucket, clusterBucket, membersBucket, membersRemovedBucket,
	authBucket, authUsersBucket, authRolesBucket,
}

// memberRemoved is what etcd keeps of a removed member.
const memberRemoved = "removed"

// tombstoneMark ends the key of a deletion.
const tombstoneMark = 't'

// appendRevision appends the key of a write in the bucket "key".
func appendRevision(dst []byte, revision, sub int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(revision))
	dst = append(dst, '_')
	return binary.BigEndian.AppendUint64(dst, uint64(sub))
}

// pair is a key of a bucket and its value.
type pair struct {
	bucket string
	key    []byte
	value  []byte
}

// pairs is everything but the history.
type pairs []pair

func (p *pairs) add(bucket, key string, value []byte) {
	*p = append(*p, pair{bucket, []byte(key), value})
}

// pairsOf converts a state. Errors tell what in it etcd has no form for.
func pairsOf(state *sqldb.State) (pairs, error) {
	var p pairs
	if err := p.addMeta(state); err != nil {
		return nil, err
	}
	for _, l := range state.Leases {
		value, err := proto.Marshal(&leasepb.Lease{ID: l.ID, TTL: l.TTL, RemainingTTL: l.Remaining})
		if err != nil {
			return nil, fmt.Errorf("backend: lease %x: %w", l.ID, err)
		}
		p = append(p, pair{leaseBucket, binary.BigEndian.AppendUint64(nil, uint64(l.ID)), value})
	}
	for _, a := range state.Alarms {
		kind, err := AlarmType(a.Kind)
		if err != nil {
			return nil, err
		}
		key, err := proto.Marshal(&pb.AlarmMember{MemberID: a.MemberID, Alarm: kind})
		if err != nil {
			return nil, fmt.Errorf("backend: alarm of member %x: %w", a.MemberID, err)
		}
		p = append(p, pair{alarmBucket, key, nil})
	}
	for _, m := range state.Members {
		if id := strconv.FormatUint(m.ID, 16); m.Removed {
			p.add(membersRemovedBucket, id, []byte(memberRemoved))
		} else {
			p.add(membersBucket, id, m.JSON)
		}
	}
	if err := p.addAuth(state); err != nil {
		return nil, err
	}
	return p, nil
}

// AlarmType is the alarm that a row is about: a name of etcd's or, because etcd
// lets clients raise alarms that it does not know, a number.
func AlarmType(kind string) (pb.AlarmType, error) {
	if known, ok := pb.AlarmType_value[kind]; ok {
		return pb.AlarmType(known), nil
	}
	number, err := strconv.ParseInt(kind, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("backend: alarm of unknown kind %q", kind)
	}
	return pb.AlarmType(number), nil
}

// addMeta adds how far the state is, and what the cluster agreed on.
func (p *pairs) addMeta(state *sqldb.State) error {
	if state.AppliedIndex > 0 {
		p.add(metaBucket, consistentIndexKey, binary.BigEndian.AppendUint64(nil, state.AppliedIndex))
		p.add(metaBucket, termKey, binary.BigEndian.AppendUint64(nil, state.AppliedTerm))
	}
	if encoded := state.Settings[sqldb.SettingConfState].Blob; len(encoded) > 0 {
		conf := new(raftpb.ConfState)
		if err := proto.Unmarshal(encoded, conf); err != nil {
			return fmt.Errorf("backend: configuration: %w", err)
		}
		text, err := json.Marshal(conf) // not protojson: etcd keeps the struct's own form
		if err != nil {
			return fmt.Errorf("backend: configuration: %w", err)
		}
		p.add(metaBucket, confStateKey, text)
	}
	for name, setting := range map[string]string{
		scheduledCompactKey: sqldb.SettingCompactScheduled, finishedCompactKey: sqldb.SettingCompactFinished,
	} {
		if s, ok := state.Settings[setting]; ok {
			p.add(metaBucket, name, appendRevision(nil, s.Int, 0))
		}
	}
	cluster := state.Settings[sqldb.SettingClusterVersion].Text
	if cluster == "" {
		return nil
	}
	p.add(clusterBucket, clusterVersionKey, []byte(cluster))
	if downgrade := state.Settings[sqldb.SettingDowngrade].Text; downgrade != "" {
		p.add(clusterBucket, downgradeKey, []byte(downgrade))
	}
	storage, err := storageVersion(cluster)
	if err != nil {
		return err
	}
	if storage != "" {
		p.add(metaBucket, storageVersionKey, []byte(storage))
	}
	return nil
}

// storageVersion is what etcd calls its schema in a cluster of a version: the
// version's major and minor, and nothing before 3.6.
func storageVersion(cluster string) (string, error) {
	v, err := semver.NewVersion(cluster)
	if err != nil {
		return "", fmt.Errorf("backend: cluster version %q: %w", cluster, err)
	}
	if v.LessThan(version.V3_6) {
		return "", nil
	}
	return (&semver.Version{Major: v.Major, Minor: v.Minor}).String(), nil
}
