// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"errors"
	"fmt"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	"go.etcd.io/etcd/server/v3/etcdserver/version"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
)

// clusterOf is the store's membership as etcd's membership package has it, for
// its rules and formats. It is a copy: changes to it go nowhere.
func clusterOf(store *sqlstore.Store, lg *zap.Logger) *membership.RaftCluster {
	cluster := membership.NewCluster(lg, membership.WithMaxLearners(membership.DefaultMaxLearners))
	cluster.SetBackend(storedMembership{store})
	cluster.UnsafeLoad()
	return cluster
}

// snapshotData is the payload of an etcd .snap file: the membership as a tree of
// etcd's old store.
func snapshotData(store *sqlstore.Store, lg *zap.Logger) ([]byte, error) {
	const clusterPrefix, keysPrefix = "/0", "/1"
	tree := v2store.New(clusterPrefix, keysPrefix)
	clusterOf(store, lg).Store(tree)
	data, err := tree.SaveNoCopy()
	if err != nil {
		return nil, fmt.Errorf("etcdapi: membership of a snapshot: %w", err)
	}
	return data, nil
}

// storedMembership shows a store as a membership.MembershipBackend that can't be
// written: the log does that.
type storedMembership struct{ store *sqlstore.Store }

func (b storedMembership) ClusterVersionFromBackend() *semver.Version {
	v, err := semver.NewVersion(b.store.ClusterVersion())
	if err != nil {
		return nil // not decided yet
	}
	return v
}

func (b storedMembership) MustReadMembersFromBackend() (map[types.ID]*membership.Member, map[types.ID]bool) {
	members := make(map[types.ID]*membership.Member)
	for _, m := range b.store.Members() {
		members[types.ID(m.ID)] = &membership.Member{
			ID:             types.ID(m.ID),
			RaftAttributes: membership.RaftAttributes{PeerURLs: m.PeerURLs, IsLearner: m.IsLearner},
			Attributes:     membership.Attributes{Name: m.Name, ClientURLs: m.ClientURLs},
		}
	}
	removed := make(map[types.ID]bool)
	for _, id := range b.store.Removed() {
		removed[types.ID(id)] = true
	}
	return members, removed
}

func (storedMembership) DowngradeInfoFromBackend() *version.DowngradeInfo { return nil }
func (storedMembership) MustCreateBackendBuckets()                        {}

// The writing half has no errors to return. Nothing here calls it: a change that
// went past the log would be lost, or worse, kept on this member only.

func (storedMembership) MustSaveClusterVersionToBackend(*semver.Version)   { unwritable() }
func (storedMembership) MustSaveMemberToBackend(*membership.Member)        { unwritable() }
func (storedMembership) MustDeleteMemberFromBackend(types.ID)              { unwritable() }
func (storedMembership) MustSaveDowngradeToBackend(*version.DowngradeInfo) { unwritable() }

func (storedMembership) TrimMembershipFromBackend() error { return errReadOnlyMembership }

var errReadOnlyMembership = errors.New("etcdapi: membership is changed by the log only")

func unwritable() {
	// Unreachable from the calls that clusterOf and its users make.
	panic(errReadOnlyMembership)
}
