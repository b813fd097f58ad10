// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/netutil"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3"
	"go.uber.org/zap"
)

// InitialCluster describes a cluster that is to be founded, by etcd's flags.
type InitialCluster struct {
	// Name is this member's (--name).
	Name string
	// Members lists all founders as name=url,name=url (--initial-cluster).
	Members string
	// Token keeps clusters with the same members apart (--initial-cluster-token).
	Token string
	// AdvertisePeerURLs are this member's (--initial-advertise-peer-urls); they
	// must be those that Members has for it.
	AdvertisePeerURLs []string
}

// Identity is who a founder is, and who the others are.
type Identity struct {
	ClusterID, MemberID uint64
	// Peers are all founders in the order of their ids, each with the payload of
	// the log's entry that adds it.
	Peers []raft.Peer
}

// resolveTimeout bounds the look-ups that may be needed to see that two URLs
// mean the same.
const resolveTimeout = 5 * time.Second

// Identity computes the ids that etcd would give. Errors name the flag that is
// wrong.
func (c InitialCluster) Identity() (Identity, error) {
	urls, err := c.urls()
	if err != nil {
		return Identity{}, err
	}
	cluster, err := membership.NewClusterFromURLsMap(zap.NewNop(), c.Token, urls)
	if err != nil {
		return Identity{}, fmt.Errorf("--initial-cluster %q: %w", c.Members, err)
	}
	identity := Identity{
		ClusterID: uint64(cluster.ID()),
		MemberID:  uint64(cluster.MemberByName(c.Name).ID),
	}
	for _, id := range cluster.MemberIDs() {
		payload, err := json.Marshal(cluster.Member(id))
		if err != nil {
			return Identity{}, fmt.Errorf("etcdapi: member %s: %w", id, err)
		}
		identity.Peers = append(identity.Peers, raft.Peer{ID: uint64(id), Context: payload})
	}
	return identity, nil
}

// urls reads and checks the list of members.
func (c InitialCluster) urls() (types.URLsMap, error) {
	urls, err := types.NewURLsMap(c.Members)
	if err != nil {
		return nil, fmt.Errorf("--initial-cluster %q: %w", c.Members, err)
	}
	return urls, c.check(urls)
}

func (c InitialCluster) check(urls types.URLsMap) error {
	own, ok := urls[c.Name]
	if !ok {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration %q (--initial-cluster)", c.Name, c.Members)
	}
	seen := make(map[string]string)
	for name, list := range urls {
		for _, u := range list.StringSlice() {
			if other, twice := seen[u]; twice {
				return fmt.Errorf("--initial-cluster %q: members %q and %q have the URL %s", c.Members, other, name, u)
			}
			seen[u] = name
		}
	}
	if !sameURLs(own.StringSlice(), c.AdvertisePeerURLs) {
		return fmt.Errorf("--initial-cluster has %s for %q, but --initial-advertise-peer-urls are %s",
			strings.Join(own.StringSlice(), ","), c.Name, strings.Join(c.AdvertisePeerURLs, ","))
	}
	return nil
}

// sameURLs compares as texts first, then by what host names resolve to.
func sameURLs(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	sort.Strings(a)
	sort.Strings(b)
	if slices.Equal(a, b) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	same, err := netutil.URLStringsEqual(ctx, zap.NewNop(), a, b)
	return same && !errors.Is(err, context.DeadlineExceeded)
}
