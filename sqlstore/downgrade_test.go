// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
)

// TestDowngrade wants what the log says of a downgrade to be there after a restart,
// and an end of it to leave nothing behind.
func TestDowngrade(t *testing.T) {
	f := newFixture(t, nil)
	if got := f.store.Downgrade(); got != (Downgrade{}) {
		t.Errorf("at first: %+v", got)
	}
	f.must(&pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}})
	f.must(&pb.InternalRaftRequest{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "3.6.0"}})
	want := Downgrade{TargetVersion: "3.6.0", Enabled: true}
	if got := f.store.Downgrade(); got != want {
		t.Errorf("enabled: %+v", got)
	}
	f.reopen()
	if got := f.store.Downgrade(); got != want {
		t.Errorf("after a restart: %+v", got)
	}
	f.must(&pb.InternalRaftRequest{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Ver: "3.6.0"}})
	f.must(&pb.InternalRaftRequest{DowngradeVersionTest: &pb.DowngradeVersionTestRequest{Ver: "3.6.0"}})
	f.reopen()
	if got := f.store.Downgrade(); got != (Downgrade{}) {
		t.Errorf("cancelled: %+v", got)
	}
}
