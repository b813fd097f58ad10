// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// TestBothVotersRemovedAtOnce: one of two removals is refused, and the member that it was about goes on.
func TestBothVotersRemovedAtOnce(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 2, harness.Options{Args: []string{"--strict-reconfig-check=false"}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	var ids [2]uint64
	for i, m := range members {
		status, err := pb.NewMaintenanceClient(m.Conn(t)).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = status.Header.MemberId
	}
	through := pb.NewClusterClient(members[0].Conn(t))
	var errs [2]error
	var callers sync.WaitGroup
	for i, id := range ids {
		callers.Go(func() { _, errs[i] = through.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id}) })
	}
	callers.Wait()
	t.Logf("answers: %v", errs)
	// A removed member that was asked for the other removal may not hear that it is refused.
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatal("want one removal to be done")
	}
	gone, stays := members[0], members[1]
	if errs[0] != nil {
		gone, stays = stays, gone
	}
	<-gone.Exited()
	gone.Expect(0)
	mustPut(t, pb.NewKVClient(stays.Conn(t)), "still", "here")
	stays.Stop()
	stays.Restart()
}
