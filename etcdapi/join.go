// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// joinTimeout bounds a question to another member before this one starts, as in
// etcd. All are asked at once: one that takes the question and never answers is
// no reason to know less of the others.
const joinTimeout = 10 * time.Second

// Join asks the members of c for the cluster that runs, and returns who this
// member is in it, and all others. It must have been added before; ids are the
// cluster's then. rt makes the connections. The first member counts that knows
// the members that c lists, for one may lag.
// Errors: no member answers, the cluster has other members than c says, it is of
// a version that is not this server's, or this member has run before.
func (c InitialCluster) Join(ctx context.Context, rt http.RoundTripper) (Identity, []Remote, error) {
	urls, err := c.urls()
	if err != nil {
		return Identity{}, nil, err
	}
	peers, others := newPeerClient(rt), c.others(urls)
	running, local, err := c.findRunning(ctx, peers, urls)
	if err != nil {
		return Identity{}, nil, err
	}
	if err := peers.checkCompatible(ctx, others); err != nil {
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

// findRunning returns the cluster as another member knows it, and what c lists
// with the ids of that.
func (c InitialCluster) findRunning(ctx context.Context, peers *peerClient, urls types.URLsMap) (running, local *membership.RaftCluster, err error) {
	unanswered, invalid := errors.New("there is no other member"), error(nil)
	for running, err := range askEach(ctx, c.others(urls), peers.askCluster) {
		if err != nil {
			unanswered = err
			continue
		}
		local, err := membership.NewClusterFromURLsMap(zap.NewNop(), c.Token, urls)
		if err != nil {
			return nil, nil, fmt.Errorf("--initial-cluster %q: %w", c.Members, err)
		}
		if err = membership.ValidateClusterAndAssignIDs(zap.NewNop(), local, running); err == nil {
			return running, local, nil
		}
		invalid = fmt.Errorf("error validating peerURLs %s: %w (add this member with `etcdctl member add` first, and list exactly the cluster's members in --initial-cluster)",
			running, err)
	}
	if invalid != nil {
		return nil, nil, invalid
	}
	return nil, nil, fmt.Errorf("cannot fetch cluster info from peer urls: %w", unanswered)
}

// CheckNew returns an error if the cluster that c is to found runs already and
// knows this member: its data was lost then, and with it what it had promised.
// When no other member answers in time there is none.
func (c InitialCluster) CheckNew(ctx context.Context, rt http.RoundTripper, identity Identity) error {
	urls, err := c.urls()
	if err != nil {
		return err
	}
	for running, err := range askEach(ctx, c.others(urls), newPeerClient(rt).askCluster) {
		if err != nil || uint64(running.ID()) != identity.ClusterID {
			continue
		}
		if err := checkFirstStart(running, identity.MemberID); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// askEach asks at all URLs at once, each within joinTimeout, and gives the answers
// as they come.
func askEach[T any](ctx context.Context, urls []string, ask func(context.Context, string) (T, error)) iter.Seq2[T, error] {
	type answer struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, joinTimeout)
		defer cancel()
		answers := make(chan answer, len(urls))
		for _, url := range urls {
			go func() {
				value, err := ask(ctx, url)
				answers <- answer{value, err}
			}()
		}
		for range urls {
			if a := <-answers; !yield(a.value, a.err) {
				return
			}
		}
	}
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

func (c *peerClient) askCluster(ctx context.Context, url string) (*membership.RaftCluster, error) {
	got, err := c.get(ctx, url+membersPath, maxMembersBytes)
	if err != nil {
		return nil, err
	}
	members, err := decodeMembers(got.body)
	if err != nil {
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

// decodeMembers reads the members of another member's answer. In etcd's struct each is a pointer; none is nil here.
func decodeMembers(body []byte) ([]*membership.Member, error) {
	var members []*membership.Member
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	if slices.Contains(members, nil) {
		return nil, errors.New("a member is null")
	}
	return members, nil
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

// checkCompatible refuses a cluster whose version is not for this server: its log
// may hold what this server does not know. One member at least must say which
// version it is; of those that say it all must agree with this server.
func (c *peerClient) checkCompatible(ctx context.Context, urls []string) error {
	lowest, highest := semver.New(version.MinClusterVersion), majorMinor(semver.New(version.Version))
	if c.downgrading(ctx, urls) {
		highest.Minor++
		lowest = highest
	}
	decided, unknown := false, errors.New("there is no other member")
	for cluster, err := range askEach(ctx, urls, c.askClusterVersion) {
		switch {
		case err != nil:
			unknown = err
		case cluster.LessThan(*lowest), highest.LessThan(*cluster):
			return fmt.Errorf("incompatible with current running cluster: it is of version %s, this server of %s", cluster, version.Version)
		default:
			decided = true
		}
	}
	if !decided {
		return fmt.Errorf("incompatible with current running cluster: no member says which version it is of: %w", unknown)
	}
	return nil
}

// askClusterVersion asks a member for the version of its cluster. It is an error
// if that is not decided yet.
func (c *peerClient) askClusterVersion(ctx context.Context, url string) (*semver.Version, error) {
	got, err := c.get(ctx, url+versionPath, maxVersionBytes)
	if err != nil {
		return nil, err
	}
	var answer version.Versions
	if err := json.Unmarshal(got.body, &answer); err != nil {
		return nil, fmt.Errorf("answer of %s%s: %w", url, versionPath, err)
	}
	cluster, err := semver.NewVersion(answer.Cluster)
	if err != nil {
		return nil, fmt.Errorf("answer of %s%s: cluster version %q: %w", url, versionPath, answer.Cluster, err)
	}
	return cluster, nil
}

// downgrading says whether a member knows that the cluster is being downgraded: it
// is one minor version ahead of this server then.
func (c *peerClient) downgrading(ctx context.Context, urls []string) bool {
	for enabled, err := range askEach(ctx, urls, c.askDowngrade) {
		if err == nil {
			return enabled // it has asked the leader
		}
	}
	return false
}

func (c *peerClient) askDowngrade(ctx context.Context, url string) (bool, error) {
	got, err := c.get(ctx, url+downgradeEnabledPath, maxVersionBytes)
	if err != nil {
		return false, err
	}
	return strconv.ParseBool(strings.TrimSpace(string(got.body)))
}

// majorMinor is a version without its patch, as a cluster's is.
func majorMinor(v *semver.Version) *semver.Version {
	return &semver.Version{Major: v.Major, Minor: v.Minor}
}
