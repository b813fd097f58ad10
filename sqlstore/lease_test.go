// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestLeaseOfOldKeys: a database, an etcd's for one, may hold keys of leases that are gone. A lease that gets such a
// number again has those that are put with it, as on etcd.
func TestLeaseOfOldKeys(t *testing.T) {
	f := newFixture(t, nil)
	grant := func() {
		f.must(&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 7, TTL: 100}})
	}
	leased := func() {
		f.must(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k"), Lease: 7}})
	}
	grant()
	leased()
	if err := f.store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spoil(t, f.opts.DB.Path, "DELETE FROM lease")
	f.open()
	grant()
	leased()
	f.must(&pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}})
	if left := f.read(0, "k", ""); len(left) != 0 {
		t.Errorf("%q outlives its lease", left)
	}
}
