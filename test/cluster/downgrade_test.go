// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// TestDowngradeMixed allows a downgrade at each member of a cluster of both kinds,
// under a leader of each kind, and cancels it at the next. All members must follow.
func TestDowngradeMixed(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMixed(t, []harness.Kind{harness.Keelson, harness.Etcd, harness.Keelson}, harness.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*healTimeout)
	defer cancel()
	ask := func(m *harness.Server, action pb.DowngradeRequest_DowngradeAction) {
		t.Helper()
		r := &pb.DowngradeRequest{Action: action, Version: "3.6"}
		if _, err := pb.NewMaintenanceClient(m.Conn(t)).Downgrade(ctx, r); err != nil {
			t.Fatalf("%v at %s %s: %v", action, m.Kind(), m.Name(), err)
		}
	}
	for i, m := range members {
		next := members[(i+1)%len(members)]
		moveLeadership(ctx, t, members, next)
		awaitVersions(ctx, t, members, `3.7.0, downgraded false to ""`)
		ask(m, pb.DowngradeRequest_VALIDATE)
		ask(m, pb.DowngradeRequest_ENABLE)
		awaitVersions(ctx, t, members, `3.6.0, downgraded true to "3.6.0"`)
		ask(next, pb.DowngradeRequest_CANCEL)
	}
	awaitVersions(ctx, t, members, `3.7.0, downgraded false to ""`)
}

// awaitVersions waits until all members say the same of their storage's version,
// which follows the cluster's, and of a downgrade.
func awaitVersions(ctx context.Context, t *testing.T, members harness.Members, want string) {
	t.Helper()
	for _, m := range members {
		client, got := pb.NewMaintenanceClient(m.Conn(t)), ""
		for got != want {
			status, err := client.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				t.Fatalf("%s %s: %v, last seen: %s", m.Kind(), m.Name(), err, got)
			}
			got = fmt.Sprintf("%s, downgraded %v to %q", status.StorageVersion, status.DowngradeInfo.Enabled, status.DowngradeInfo.TargetVersion)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("%s %s says %s, want %s", m.Kind(), m.Name(), got, want)
			}
		}
	}
}
