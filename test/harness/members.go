// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Members are the servers of one cluster.
type Members []*Server

// StartMembers founds a cluster of n members and waits until all are healthy.
// Member i runs on network's host i, or on this host if there is no network. opts
// are for all: Name, DataDir, Host, On and Cluster are set here.
func StartMembers(t testing.TB, kind Kind, n int, opts Options, network *Network) Members {
	t.Helper()
	return StartMixed(t, slices.Repeat([]Kind{kind}, n), opts, network)
}

// StartMixed is StartMembers for members of the given kinds.
func StartMixed(t testing.TB, kinds []Kind, opts Options, network *Network) Members {
	t.Helper()
	var all Members
	for i, kind := range kinds {
		o := opts
		o.Name = fmt.Sprintf("m%d", i+1)
		if network != nil {
			o.On = network.AddHost(t)
		}
		all = append(all, New(t, kind, o))
	}
	for _, s := range all {
		s.opts.Cluster = all.cluster()
		s.Run()
	}
	for _, s := range all {
		s.WaitReady()
	}
	return all
}

// cluster is what --initial-cluster says of the members.
func (m Members) cluster() string {
	var list []string
	for _, s := range m {
		list = append(list, s.opts.Name+"="+s.PeerURL())
	}
	return strings.Join(list, ",")
}

// Add adds a member to the cluster, a learner if that is asked for by add, and
// returns its server, which joins when it is run.
func (m Members) Add(t testing.TB, name string, add func(c clientv3.Cluster, peerURL string) error) *Server {
	t.Helper()
	opts := m[0].opts
	opts.Name, opts.DataDir = name, ""
	if opts.On != nil {
		opts.On = opts.On.network.AddHost(t)
	}
	opts.Args = append(append([]string{}, opts.Args...), "--initial-cluster-state=existing")
	s := New(t, m[0].kind, opts)
	if err := add(m[0].Client(t), s.PeerURL()); err != nil {
		t.Fatalf("harness: add %s: %v", name, err)
	}
	s.opts.Cluster = append(append(Members{}, m...), s).cluster()
	return s
}

// Endpoints are where clients reach the members.
func (m Members) Endpoints() []string {
	var all []string
	for _, s := range m {
		all = append(all, s.Endpoint())
	}
	return all
}
