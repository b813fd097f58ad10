// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/disk"
)

// identity says who this member is and how its log begins.
type identity struct {
	etcdapi.Identity
	start   raftlog.Start
	remotes []etcdapi.Remote // members of a cluster that this one joins
}

// identify finds out who this member is: from its log if it has one, which the
// flags that found a cluster do not change any more; from them otherwise, and
// from the other members if the cluster runs already. It writes nothing.
func identify(ctx context.Context, c *config, logger *zap.Logger) (identity, error) {
	known, found, err := savedIdentity(c, logger)
	if err != nil {
		return identity{}, err
	}
	if found {
		if c.discovery.Token != "" {
			logger.Warn("discovery token is ignored since cluster already initialized; valid logs are found", zap.String("wal-dir", walDir(c)))
		}
		return identity{Identity: etcdapi.Identity{ClusterID: known.ClusterID, MemberID: known.MemberID}}, nil
	}
	if c.forceNewCluster {
		return identity{}, fmt.Errorf("--force-new-cluster needs the data of a member; %s holds none", c.dataDir)
	}
	if err := c.discover(ctx, logger); err != nil {
		return identity{}, err
	}
	cluster := etcdapi.InitialCluster{
		Name: c.name, Members: c.initialCluster, Token: c.initialClusterToken,
		AdvertisePeerURLs: c.initialAdvertisePeerURLs.StringSlice(),
	}
	rt, err := rafthttp.NewRoundTripper(c.questionTLS(), c.peerDialTimeout())
	if err != nil {
		return identity{}, fmt.Errorf("peer TLS: %w", err)
	}
	if c.initialClusterState == clusterExisting {
		joined, remotes, err := cluster.Join(ctx, rt)
		return identity{Identity: joined, start: raftlog.StartJoin, remotes: remotes}, err
	}
	founder, err := cluster.Identity()
	if err != nil {
		return identity{}, err
	}
	return identity{Identity: founder}, cluster.CheckNew(ctx, rt, founder)
}

// savedIdentity is that of the log on disk, false if there is none.
func savedIdentity(c *config, logger *zap.Logger) (disk.Identity, bool, error) {
	return disk.New(disk.Options{
		WALDir: walDir(c), SnapDir: snapDir(c), Logger: logger, MaxWALs: raftlog.Unlimited, MaxSnapshots: raftlog.Unlimited,
	}).Identity()
}

func walDir(c *config) string {
	if c.walDir != "" {
		return c.walDir
	}
	return filepath.Join(c.dataDir, "member", "wal")
}

func snapDir(c *config) string { return filepath.Join(c.dataDir, "member", "snap") }

// election is how long a follower waits for a leader.
func (c *config) election() time.Duration { return time.Duration(c.electionMillis) * time.Millisecond }

// peerDialTimeout is etcd's: a second for the network and an election, in which a
// member may be slow.
func (c *config) peerDialTimeout() time.Duration { return time.Second + c.election() }
