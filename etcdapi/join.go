// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
)

// Remote is a member of a cluster that this one joins.
type Remote struct {
	ID       uint64
	PeerURLs []string
}

// Join asks the members of c for the cluster that runs, and returns who this
// member is in it, and all others. It must have been added before; ids are the
// cluster's then. rt makes the connections; each question is bounded by ctx.
// Errors: no member answers, the cluster has other members than c says, it is of
// a later version than this server, or this member has run before.
func (c InitialCluster) Join(ctx context.Context, rt http.RoundTripper) (Identity, []Remote, error) {
	urls, err := c.urls()
	if err != nil {
		return Identity{}, nil, err
	}
	local, err := membership.NewClusterFromURLsMap(zap.NewNop(), c.Token, urls)
	if err != nil {
		return Identity{}, nil, fmt.Errorf("--initial-cluster %q: %w", c.Members, err)
	}
	peers := newPeerClient(rt)
	running, err := peers.clusterAt(ctx, c.others(urls))
	if err != nil {
		return Identity{}, nil, fmt.Errorf("cannot fetch cluster info from peer urls: %w", err)
	}
	if err := membership.ValidateClusterAndAssignIDs(zap.NewNop(), local, running); err != nil {
		return Identity{}, nil, fmt.Errorf("error validating peerURLs %s: %w (add this member with `etcdctl member add` first, and list exactly the cluster's members in --initial-cluster)",
			running, err)
	}
	if err := peers.checkCompatible(ctx, c.others(urls)); err != nil {
		return Identity{}, nil, err
	}
	identity := Identity{ClusterID: uint64(running.ID()), MemberID: uint64(local.MemberByName(c.Name).ID)}
	if running.IsIDRemoved(types.ID(identity.MemberID)) {
		return Identity{}, nil, membership.ErrIDRemoved
	}
	if err := checkFirstStart(running, identity.MemberID); err != nil {
		return Identity{}, nil, err
	}
	var remotes []Remote
	for _, m := range running.Members() {
		if uint64(m.ID) != identity.MemberID {
			remotes = append(remotes, Remote{uint64(m.ID), m.PeerURLs})
		}
	}
	return identity, remotes, nil
}

// CheckNew returns an error if the cluster that c is to found runs already and
// knows this member: its data was lost then, and with it what it had promised.
// When no other member answers there is none.
func (c InitialCluster) CheckNew(ctx context.Context, rt http.RoundTripper, identity Identity) error {
	urls, err := c.urls()
	if err != nil {
		return err
	}
	others := c.others(urls)
	if len(others) == 0 {
		return nil
	}
	running, err := newPeerClient(rt).clusterAt(ctx, others)
	if err != nil || uint64(running.ID()) != identity.ClusterID {
		return nil
	}
	return checkFirstStart(running, identity.MemberID)
}

// checkFirstStart returns an error if a member, which has no data, has served in
// the running cluster. An etcd that joins does not look, and dies when the leader
// tells it what it had stored; unless it has voted by then.
func checkFirstStart(running *membership.RaftCluster, id uint64) error {
	member := running.Member(types.ID(id))
	if member == nil || len(member.ClientURLs) == 0 {
		return nil
	}
	return fmt.Errorf("member %x has already been bootstrapped (its data is gone: remove it from the cluster, add it anew and start it with --initial-cluster-state existing)", id)
}

// others are the peer URLs of all members but this one.
func (c InitialCluster) others(urls types.URLsMap) []string {
	var all []string
	for name, list := range urls {
		if name != c.Name {
			all = append(all, list.StringSlice()...)
		}
	}
	slices.Sort(all)
	return all
}

// clusterAt returns the cluster of the first member that answers.
func (c *peerClient) clusterAt(ctx context.Context, urls []string) (*membership.RaftCluster, error) {
	err := errors.New("there is no other member")
	for _, url := range urls {
		var cluster *membership.RaftCluster
		if cluster, err = c.askCluster(ctx, url); err == nil {
			return cluster, nil
		}
	}
	return nil, err
}

func (c *peerClient) askCluster(ctx context.Context, url string) (*membership.RaftCluster, error) {
	got, err := c.get(ctx, url+membersPath, maxMembersBytes)
	if err != nil {
		return nil, err
	}
	var members []*membership.Member
	if err := json.Unmarshal(got.body, &members); err != nil {
		return nil, fmt.Errorf("answer of %s%s: %w", url, membersPath, err)
	}
	id, err := types.IDFromString(got.header.Get(clusterIDHeader))
	if err != nil {
		return nil, fmt.Errorf("answer of %s%s: cluster id: %w", url, membersPath, err)
	}
	if len(members) == 0 {
		return nil, fmt.Errorf("answer of %s%s: no member", url, membersPath)
	}
	return membership.NewClusterFromMembers(zap.NewNop(), id, members), nil
}

// get asks a question that has no body. Any status but 200 is an error.
func (c *peerClient) get(ctx context.Context, url string, maxBytes int64) (peerAnswer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return peerAnswer{}, err
	}
	got, err := c.do(r, maxBytes)
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("%s answers %d", url, got.status)
	}
	return got, err
}

// checkCompatible refuses a cluster whose version is later than this server's:
// its log may hold what this server does not know.
func (c *peerClient) checkCompatible(ctx context.Context, urls []string) error {
	own := semver.New(version.Version)
	for _, url := range urls {
		got, err := c.get(ctx, url+versionPath, maxVersionBytes)
		if err != nil {
			continue // it may be down; those that are up have the same answer
		}
		var answer version.Versions
		if err := json.Unmarshal(got.body, &answer); err != nil {
			return fmt.Errorf("answer of %s%s: %w", url, versionPath, err)
		}
		cluster, err := semver.NewVersion(answer.Cluster)
		if err == nil && (&semver.Version{Major: own.Major, Minor: own.Minor}).LessThan(semver.Version{Major: cluster.Major, Minor: cluster.Minor}) {
			return fmt.Errorf("incompatible with current running cluster: it is of version %s, this server of %s", answer.Cluster, version.Version)
		}
	}
	return nil
}
