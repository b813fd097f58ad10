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
	serverversion "go.etcd.io/etcd/server/v3/etcdserver/version"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// The cluster's version is the lowest of its members' and is what they all can do.
// The leader asks them and sets it, through the log. A downgrade, which is allowed
// beforehand, is the only way for it to become lower. What follows from what is
// etcd's to say, in its package version; here is what that package asks for.

// maxVersionBytes bounds a member's answer about its version.
const maxVersionBytes = 64 << 10

// versions is the cluster as etcd's package version sees it. What it proposes as
// the leader it proposes in one term only: what a later leader has set stays.
type versions struct {
	*core
	term uint64 // 0: whoever leads
}

var _ serverversion.Server = versions{}

// GetClusterVersion implements serverversion.Server.
func (v versions) GetClusterVersion() *semver.Version {
	agreed, err := semver.NewVersion(v.store.ClusterVersion())
	if err != nil {
		return nil // not decided yet
	}
	return agreed
}

// GetDowngradeInfo implements serverversion.Server.
func (v versions) GetDowngradeInfo() *serverversion.DowngradeInfo {
	d := serverversion.DowngradeInfo(v.store.Downgrade())
	return &d
}

// LinearizableReadNotify implements serverversion.Server.
func (v versions) LinearizableReadNotify(ctx context.Context) error { return v.linearize(ctx) }

// DowngradeEnable implements serverversion.Server.
func (v versions) DowngradeEnable(ctx context.Context, target *semver.Version) error {
	return v.setDowngrade(ctx, &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: target.String()})
}

// DowngradeCancel implements serverversion.Server.
func (v versions) DowngradeCancel(ctx context.Context) error {
	return v.setDowngrade(ctx, &membershippb.DowngradeInfoSetRequest{})
}

func (v versions) setDowngrade(ctx context.Context, r *membershippb.DowngradeInfoSetRequest) error {
	if v.term == 0 {
		_, err := v.proposeMessage(ctx, wire.KindDowngradeInfoSet, r)
		return err
	}
	_, err := v.proposeInTerm(v.stop, v.term, wire.KindDowngradeInfoSet, r) // nobody else waits for it
	return err
}

// UpdateClusterVersion implements serverversion.Server.
func (v versions) UpdateClusterVersion(next string) {
	_, err := v.proposeInTerm(v.stop, v.term, wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: next})
	if err != nil {
		if v.stop.Err() == nil {
			v.opts.Logger.Warn("failed to update cluster version", zap.Error(err))
		}
		return
	}
	v.opts.Logger.Info("cluster version is updated", zap.String("cluster-version", version.Cluster(next)))
}

// GetStorageVersion implements serverversion.Server. What etcd's members keep in
// their files differs from version to version, and each one changes its own when
// the cluster's version has changed. Here nothing differs, but who waits for the
// change is told of it. It is nil before the cluster's version is decided.
func (v versions) GetStorageVersion() *semver.Version {
	if changed := v.storage.Load(); changed != nil {
		return changed
	}
	agreed := v.GetClusterVersion()
	if agreed == nil || agreed.String() == version.MinClusterVersion {
		return nil
	}
	return majorMinor(agreed)
}

// UpdateStorageVersion implements serverversion.Server.
func (v versions) UpdateStorageVersion(target semver.Version) error {
	v.storage.Store(&target)
	v.opts.Logger.Info("updated storage version", zap.String("new-storage-version", target.String()))
	return nil
}

// GetMembersVersions implements serverversion.Server. What could not be asked is
// nil.
func (v versions) GetMembersVersions() map[string]*version.Versions {
	all := make(map[string]*version.Versions)
	for _, m := range v.store.Members() {
		id := types.ID(m.ID).String()
		if m.ID == v.memberID {
			all[id] = &version.Versions{Server: version.Version, Cluster: v.store.ClusterVersion()}
			continue
		}
		answer, err := v.versionsOf(m)
		if err != nil {
			v.opts.Logger.Debug("failed to get version", zap.String("remote-member-id", id), zap.Error(err))
		}
		all[id] = answer
	}
	return all
}

// versionsOf asks a member for the version of its server.
func (v versions) versionsOf(m sqlstore.Member) (*version.Versions, error) {
	err := errors.New("it has no peer URL")
	for _, url := range m.PeerURLs {
		var answer *version.Versions
		if answer, err = v.versionsAt(url); err == nil {
			return answer, nil
		}
	}
	return nil, err
}

func (v versions) versionsAt(url string) (*version.Versions, error) {
	ctx, cancel := context.WithTimeout(v.stop, v.opts.requestTimeout())
	defer cancel()
	got, err := v.peers.get(ctx, url+versionPath, maxVersionBytes)
	if err != nil {
		return nil, err
	}
	answer := new(version.Versions)
	if err := json.Unmarshal(got.body, answer); err != nil {
		return nil, fmt.Errorf("answer of %s%s: %w", url, versionPath, err)
	}
	return answer, nil
}

// CheckVersion returns an error if the cluster is of a later version than this
// server: its log may hold what this server does not know. It is to be asked
// before the log is opened; a later version that is applied ends the state machine.
func (m *StateMachine) CheckVersion() error {
	agreed := m.store.ClusterVersion()
	cluster, err := semver.NewVersion(agreed)
	if err != nil {
		return nil // not decided yet
	}
	if majorMinor(semver.New(version.Version)).LessThan(*cluster) {
		return fmt.Errorf("invalid downgrade; server version is lower than determined cluster version (%s, %s)",
			version.Version, version.Cluster(agreed))
	}
	return nil
}

// followVersion fails if the cluster's version has become a later one than this
// server's.
func (m *StateMachine) followVersion() error {
	agreed := m.store.ClusterVersion()
	if agreed == m.version {
		return nil
	}
	m.version = agreed
	err := m.CheckVersion()
	if err != nil {
		m.fail(err)
	}
	return err
}
