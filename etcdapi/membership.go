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

	"keelson.io/keelson/sqlstore"
)

// memberSource has the membership as of one place in the log; *sqlstore.Store is
// one.
type memberSource interface {
	Members() []sqlstore.Member
	Removed() []uint64
	ClusterVersion() string
}

// clusterOf is a membership as etcd's membership package has it, for
// its rules and formats. It is a copy: changes to it go nowhere.
func clusterOf(members memberSource, opts *Options) *membership.RaftCluster {
	cluster := membership.NewCluster(opts.Logger, membership.WithMaxLearners(opts.MaxLearners))
	cluster.SetBackend(storedMembership{members})
	cluster.UnsafeLoad()
	return cluster
}

// snapshotData is the payload of an etcd .snap file: the membership as a tree of
// etcd's old store.
func snapshotData(members memberSource, opts *Options) ([]byte, error) {
	const clusterPrefix, keysPrefix = "/0", "/1"
	tree := v2store.New(clusterPrefix, keysPrefix)
	clusterOf(members, opts).Store(tree)
	data, err := tree.SaveNoCopy()
	if err != nil {
		return nil, fmt.Errorf("etcdapi: membership of a snapshot: %w", err)
	}
	return data, nil
}

// storedMembership shows a membership as a membership.MembershipBackend that can't be
// written: the log does that.
type storedMembership struct{ memberSource }

func (b storedMembership) ClusterVersionFromBackend() *semver.Version {
	v, err := semver.NewVersion(b.ClusterVersion())
	if err != nil {
		return nil // not decided yet
	}
	return v
}

func (b storedMembership) MustReadMembersFromBackend() (map[types.ID]*membership.Member, map[types.ID]bool) {
	members := make(map[types.ID]*membership.Member)
	for _, m := range b.Members() {
		members[types.ID(m.ID)] = &membership.Member{
			ID:             types.ID(m.ID),
			RaftAttributes: membership.RaftAttributes{PeerURLs: m.PeerURLs, IsLearner: m.IsLearner},
			Attributes:     membership.Attributes{Name: m.Name, ClientURLs: m.ClientURLs},
		}
	}
	removed := make(map[types.ID]bool)
	for _, id := range b.Removed() {
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
