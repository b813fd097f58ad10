// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/lease/leasehttp"

	"keelson.io/keelson/etcdapi/lessor"
)

// TestEtcdMemberAsksAboutLeases has etcd's own code ask a keelson.
func TestEtcdMemberAsksAboutLeases(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	leader, follower := c.leader(), c.followers()[0]
	client := c.client(leader)
	granted, err := client.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b", "a"} {
		if _, err := client.Put(ctx, key, "", clientv3.WithLease(granted.ID)); err != nil {
			t.Fatal(err)
		}
	}
	id := lease.LeaseID(granted.ID)
	transport := leader.peers.http.Transport

	ttl, err := leasehttp.RenewHTTP(ctx, id, leader.url()+leasehttp.LeasePrefix, transport)
	if err != nil || ttl != 600 {
		t.Errorf("renew: %d %v", ttl, err)
	}
	got, err := leasehttp.TimeToLiveHTTP(ctx, id, true, leader.url()+leasehttp.LeaseInternalPrefix, transport)
	if err != nil {
		t.Fatal(err)
	}
	if r := got.LeaseTimeToLiveResponse; r.ID != int64(id) || r.TTL != 600 || r.GrantedTTL != 600 || len(r.Keys) != 2 ||
		string(r.Keys[0]) != "a" || r.Header == nil {
		t.Errorf("time to live: %v", r)
	}
	if _, err := leasehttp.RenewHTTP(ctx, 12345, leader.url()+leasehttp.LeasePrefix, transport); !errors.Is(err, lease.ErrLeaseNotFound) {
		t.Errorf("renewal of no lease: %v", err)
	}
	_, err = leasehttp.TimeToLiveHTTP(ctx, 12345, false, leader.url()+leasehttp.LeaseInternalPrefix, transport)
	if !errors.Is(err, lease.ErrLeaseNotFound) {
		t.Errorf("time to live of no lease: %v", err)
	}
	// A member that does not lead must not say that there is no lease.
	_, err = leasehttp.RenewHTTP(ctx, id, follower.url()+leasehttp.LeasePrefix, transport)
	if err == nil || errors.Is(err, lease.ErrLeaseNotFound) {
		t.Errorf("renewal at a follower: %v", err)
	}
	_, err = leasehttp.TimeToLiveHTTP(ctx, id, false, follower.url()+leasehttp.LeaseInternalPrefix, transport)
	if err == nil || errors.Is(err, lease.ErrLeaseNotFound) {
		t.Errorf("time to live at a follower: %v", err)
	}
}

// etcdLessor is a lessor behind etcd's own handler.
type etcdLessor struct{ lease.FakeLessor }

func (etcdLessor) Renew(id lease.LeaseID) (int64, error) {
	switch id {
	case 7:
		return 600, nil
	case 8:
		return -1, lease.ErrNotPrimary
	}
	return -1, lease.ErrLeaseNotFound
}

// TestAsksEtcdMemberAboutLeases has etcd's own code answer a keelson.
func TestAsksEtcdMemberAboutLeases(t *testing.T) {
	ready := make(chan struct{})
	close(ready)
	n := startNode(t, t.TempDir(), Options{})
	ctx := testContext(t)
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	url := serve(leasehttp.NewHandler(&etcdLessor{}, func() <-chan struct{} { return ready }))
	if ttl, err := n.leases.renewAt(ctx, url, 7); err != nil || ttl != 600 {
		t.Errorf("renew: %d %v", ttl, err)
	}
	if _, err := n.leases.renewAt(ctx, url, 8); err == nil || errors.Is(err, lessor.ErrNotFound) || !strings.Contains(err.Error(), "primary") {
		t.Errorf("renewal at a member that is not the primary: %v", err)
	}
	if _, err := n.leases.renewAt(ctx, url, 9); !errors.Is(err, lessor.ErrNotFound) {
		t.Errorf("renewal of no lease: %v", err)
	}
	if _, err := n.leases.timeToLiveAt(ctx, url, &pb.LeaseTimeToLiveRequest{ID: 9}); !errors.Is(err, lessor.ErrNotFound) {
		t.Errorf("time to live of no lease: %v", err)
	}
	lagging := serve(leasehttp.NewHandler(&etcdLessor{}, func() <-chan struct{} { return make(chan struct{}) }))
	if _, err := n.leases.renewAt(ctx, lagging, 7); !errors.Is(err, errTimeoutApplied) {
		t.Errorf("renewal at a member that lags: %v", err)
	}
	// No endpoint is not the same as no lease.
	if _, err := n.leases.renewAt(ctx, serve(http.NotFoundHandler()), 7); err == nil || errors.Is(err, lessor.ErrNotFound) {
		t.Errorf("renewal at a server without the endpoint: %v", err)
	}
	garbage := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\xff\xff")) }))
	if _, err := n.leases.renewAt(ctx, garbage, 7); err == nil || errors.Is(err, lessor.ErrNotFound) {
		t.Errorf("renewal at a server that speaks garbage: %v", err)
	}
}
