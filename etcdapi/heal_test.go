// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	nodeLease      = "/registry/leases/kube-node-lease/n1"
	somebodysLease = "/registry/leases/default/n1"
	compactRecord  = "compact_rev_key"
)

// update changes a key as kube-apiserver does.
func update(ctx context.Context, c *clientv3.Client, key, value string) (*clientv3.TxnResponse, error) {
	got, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	compare := clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)
	if key == compactRecord {
		compare = clientv3.Compare(clientv3.Version(key), "=", got.Kvs[0].Version)
	}
	return c.Txn(ctx).If(compare).Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
}

// fill puts until there is no space, and waits until the alarm is raised.
func fill(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		_, err = c.Put(ctx, fmt.Sprintf("fill/%d", i), strings.Repeat("x", 16<<10))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("a full store says %v", err)
	}
	eventually(t, "the alarm", func() bool { return raised(ctx, t, c) })
}

// raised says whether the NOSPACE alarm is the one that is raised.
func raised(ctx context.Context, t *testing.T, c *clientv3.Client) bool {
	t.Helper()
	list, err := c.AlarmList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Alarms) == 1 && list.Alarms[0].Alarm == pb.AlarmType_NOSPACE
}

// empty removes what fill has put, for good.
func empty(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	deleted, err := c.Delete(ctx, "fill/", clientv3.WithPrefix())
	if err != nil {
		t.Fatalf("delete in a full store: %v", err)
	}
	if _, err := c.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatalf("compact a full store: %v", err)
	}
}

func TestFullStoreHeals(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{QuotaBackendBytes: 256 << 10})
	c, ctx := n.client(), testContext(t)
	for _, key := range []string{nodeLease, somebodysLease, compactRecord} {
		if _, err := c.Put(ctx, key, "before"); err != nil {
			t.Fatal(err)
		}
	}
	fill(ctx, t, c)
	for i := range 3 {
		for _, key := range []string{nodeLease, compactRecord} {
			before := n.store.Revision()
			resp, err := update(ctx, c, key, fmt.Sprint("full ", i))
			if err != nil || !resp.Succeeded || resp.Header.Revision != before+1 {
				t.Errorf("%s in a full store: %v, %v, want revision %d", key, resp, err, before+1)
			}
		}
		if !raised(ctx, t, c) {
			t.Error("a vital write has disarmed the alarm")
		}
	}
	if _, err := update(ctx, c, somebodysLease, "full"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("anybody's lease: %v", err)
	}
	if _, err := c.Put(ctx, nodeLease, "full"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a plain put: %v", err)
	}
	empty(ctx, t, c)
	eventually(t, "the alarm is disarmed", func() bool { return !raised(ctx, t, c) })
	if _, err := c.Put(ctx, "after", "space"); err != nil {
		t.Errorf("put with space again: %v", err)
	}
}

// An alarm outlives the process that raised it, and is then its successor's.
func TestFullStoreHealsAfterRestart(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir, Options{QuotaBackendBytes: 256 << 10})
	fill(testContext(t), t, n.client())
	n.close()
	n = startNode(t, dir, Options{QuotaBackendBytes: 256 << 10})
	c, ctx := n.client(), testContext(t)
	if !raised(ctx, t, c) {
		t.Error("no alarm after a restart")
	}
	empty(ctx, t, c)
	eventually(t, "the alarm is disarmed", func() bool { return !raised(ctx, t, c) })
}

// An alarm that an operator has raised is the operator's.
func TestOperatorsAlarmStays(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	alarm := &pb.AlarmRequest{MemberID: n.memberID, Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, alarm); err != nil {
		t.Fatal(err)
	}
	<-time.After(5 * healInterval / 2)
	if !raised(ctx, t, c) {
		t.Error("the alarm was disarmed")
	}
}

func TestQuotaAsEtcd(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{QuotaBackendBytes: 256 << 10, QuotaAsEtcd: true})
	c, ctx := n.client(), testContext(t)
	if _, err := c.Put(ctx, nodeLease, "before"); err != nil {
		t.Fatal(err)
	}
	fill(ctx, t, c)
	if _, err := update(ctx, c, nodeLease, "full"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a node's lease: %v", err)
	}
	empty(ctx, t, c)
	<-time.After(5 * healInterval / 2)
	if !raised(ctx, t, c) {
		t.Error("the alarm was disarmed")
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := update(ctx, c, nodeLease, "space"); err != nil {
		t.Errorf("a node's lease with space again: %v", err)
	}
}
