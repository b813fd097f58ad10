// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/version"
)

// joining is the cluster that a member of a trio, or one more, is told of.
func (c *trio) joining(name string, more ...string) InitialCluster {
	members := more
	for _, m := range c.members {
		members = append(members, m.name+"="+m.url())
	}
	initial := InitialCluster{Name: name, Members: strings.Join(members, ","), Token: "trio"}
	for _, m := range members {
		if url, found := strings.CutPrefix(m, name+"="); found {
			initial.AdvertisePeerURLs = []string{url}
		}
	}
	return initial
}

// hang has the member of a trio, but for one, that would be asked first take
// questions about the members and never answer.
func (c *trio) hang(but *third) {
	others := slices.DeleteFunc(slices.Clone(c.members), func(m *third) bool { return m == but })
	first := slices.MinFunc(others, func(a, b *third) int { return strings.Compare(a.url(), b.url()) })
	first.peer.Config.Handler.(*http.ServeMux).HandleFunc("GET "+membersPath, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})
}

// One member that hangs keeps nobody from hearing what the others know.
func TestJoinBesideAMemberThatHangs(t *testing.T) {
	c := startTrio(t, trioOptions{})
	eventually(t, "all are known", func() bool {
		return !slices.ContainsFunc(c.members, func(m *third) bool {
			own, known := m.store.Member(m.id)
			return !known || len(own.ClientURLs) == 0 || m.store.ClusterVersion() == ""
		})
	})
	ctx, cancel := context.WithTimeout(testContext(t), joinTimeout/2)
	defer cancel()
	lost := c.members[0]
	c.hang(lost)
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()

	founder, err := c.joining(lost.name).Identity()
	if err != nil {
		t.Fatal(err)
	}
	err = c.joining(lost.name).CheckNew(ctx, rt, founder)
	if err == nil || !strings.Contains(err.Error(), "has already been bootstrapped") {
		t.Errorf("a member without data that is to found its cluster: %v", err)
	}

	const url = "http://127.0.0.1:9"
	added, err := c.client(c.leader()).MemberAddAsLearner(ctx, []string{url})
	if err != nil {
		t.Fatal(err)
	}
	c.caughtUp()
	identity, remotes, err := c.joining("dora", "dora="+url).Join(ctx, rt)
	if err != nil || identity.MemberID != added.Member.ID || len(remotes) != 3 {
		t.Errorf("join: %+v, %v, %v", identity, remotes, err)
	}
	_, _, err = c.joining("emma", "emma=http://127.0.0.1:10").Join(ctx, rt)
	if err == nil || !strings.Contains(err.Error(), "error validating peerURLs") {
		t.Errorf("join without an invitation: %v", err)
	}
}

// A founder that was told to stop does not take silence for an answer.
func TestCheckNewIsStopped(t *testing.T) {
	asked := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer silent.Close()
	ctx, cancel := context.WithCancel(testContext(t))
	go func() { <-asked; cancel() }()
	cluster := InitialCluster{
		Name: "a", Members: "a=http://127.0.0.1:9,b=" + silent.URL, AdvertisePeerURLs: []string{"http://127.0.0.1:9"},
	}
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()
	if err := cluster.CheckNew(ctx, rt, Identity{}); err == nil {
		t.Error("it is taken for a new cluster")
	}
}

func TestJoinOnlyWhatIsCompatible(t *testing.T) {
	own := majorMinorText(t, 0)
	next := majorMinorText(t, 1)
	for name, c := range map[string]struct {
		clusters  []string // of each member; empty: it fails
		downgrade bool
		want      bool
	}{
		"the same":                         {[]string{own}, false, true},
		"older":                            {[]string{"3.0.0"}, false, true},
		"newer":                            {[]string{next}, false, false},
		"newer, being downgraded":          {[]string{next}, true, true},
		"the same, being downgraded":       {[]string{own}, true, false},
		"of another age":                   {[]string{"2.3.0"}, false, false},
		"undecided":                        {[]string{"not_decided", "not_decided"}, false, false},
		"one knows":                        {[]string{"not_decided", "", own}, false, true},
		"one knows better":                 {[]string{own, next}, false, false},
		"nobody answers":                   {[]string{"", ""}, false, false},
		"nobody is there":                  {nil, false, false},
		"newer than the next, downgrading": {[]string{majorMinorText(t, 2)}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var urls []string
			for _, cluster := range c.clusters {
				mux := http.NewServeMux()
				if cluster != "" {
					mux.HandleFunc(versionPath, func(w http.ResponseWriter, _ *http.Request) {
						fmt.Fprintf(w, `{"etcdserver":%q,"etcdcluster":%q}`, version.Version, cluster)
					})
					mux.HandleFunc(downgradeEnabledPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.downgrade) })
				}
				s := httptest.NewServer(mux)
				defer s.Close()
				urls = append(urls, s.URL)
			}
			rt := &http.Transport{}
			defer rt.CloseIdleConnections()
			err := newPeerClient(rt).checkCompatible(testContext(t), urls)
			if (err == nil) != c.want || err != nil && !strings.HasPrefix(err.Error(), "incompatible with current running cluster") {
				t.Errorf("%v", err)
			}
		})
	}
}

// majorMinorText is this server's version as a cluster's, some minor versions on.
func majorMinorText(t *testing.T, on int) string {
	t.Helper()
	var major, minor int
	if _, err := fmt.Sscanf(version.Version, "%d.%d.", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d.%d.0", major, minor+on)
}
