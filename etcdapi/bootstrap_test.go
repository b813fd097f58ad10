// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"encoding/json"
	"strings"
	"testing"

	"keelson.io/keelson/sqlstore"
)

// The ids that an etcd with its default flags has.
const (
	defaultMemberID  = 0x8e9e05c52164694d
	defaultClusterID = 0xcdf818194e3a8c32
)

func TestIdentityIsEtcds(t *testing.T) {
	identity, err := InitialCluster{
		Name: "default", Members: "default=http://localhost:2380", Token: "etcd-cluster",
		AdvertisePeerURLs: []string{"http://localhost:2380"},
	}.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if identity.MemberID != defaultMemberID || identity.ClusterID != defaultClusterID {
		t.Fatalf("member %x of cluster %x", identity.MemberID, identity.ClusterID)
	}
	var member sqlstore.Member
	if err := json.Unmarshal(identity.Peers[0].Context, &member); err != nil || len(identity.Peers) != 1 {
		t.Fatalf("%d peers, %v", len(identity.Peers), err)
	}
	if member.ID != defaultMemberID || member.Name != "default" || member.PeerURLs[0] != "http://localhost:2380" {
		t.Fatalf("member %+v", member)
	}
}

func TestIdentityOfSeveral(t *testing.T) {
	cluster := InitialCluster{Members: "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380", Token: "t"}
	seen := make(map[uint64]bool)
	var clusterID uint64
	for name, url := range map[string]string{"a": "http://10.0.0.1:2380", "b": "http://10.0.0.2:2380", "c": "http://10.0.0.3:2380"} {
		cluster.Name, cluster.AdvertisePeerURLs = name, []string{url}
		identity, err := cluster.Identity()
		if err != nil {
			t.Fatal(err)
		}
		if clusterID != 0 && identity.ClusterID != clusterID {
			t.Fatal("the founders disagree on the cluster's id")
		}
		clusterID = identity.ClusterID
		seen[identity.MemberID] = true
		for i, p := range identity.Peers[1:] {
			if p.ID <= identity.Peers[i].ID {
				t.Fatalf("peers are out of order: %v", identity.Peers)
			}
		}
	}
	if len(seen) != 3 {
		t.Fatalf("%d different members", len(seen))
	}
}

func TestIdentityRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cluster InitialCluster
		want    string
	}{
		"a list without this member": {
			InitialCluster{Name: "x", Members: "a=http://10.0.0.1:2380"}, `couldn't find local name "x"`,
		},
		"no URL": {InitialCluster{Name: "a", Members: "a=10.0.0.1"}, "--initial-cluster"},
		"one URL twice": {
			InitialCluster{Name: "a", Members: "a=http://10.0.0.1:2380,b=http://10.0.0.1:2380"}, "have the URL",
		},
		"another URL advertised": {
			InitialCluster{Name: "a", Members: "a=http://10.0.0.1:2380", AdvertisePeerURLs: []string{"http://10.0.0.2:2380"}},
			"--initial-advertise-peer-urls",
		},
	} {
		if _, err := tc.cluster.Identity(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
