// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/raftlog"
)

// turnedLog is a log in which something else happens first, or after.
type turnedLog struct {
	*raftlog.Log
	forget   atomic.Bool // proposals are made, and their proposer gives up
	together atomic.Pointer[func(all []raftlog.Proposal) ([]raftlog.Outcome, error)]
}

func (l *turnedLog) Propose(ctx context.Context, id uint64, data []byte) (any, error) {
	outcome, err := l.Log.Propose(ctx, id, data)
	if l.forget.Load() {
		return nil, context.DeadlineExceeded
	}
	return outcome, err
}

func (l *turnedLog) ProposeTogether(ctx context.Context, all ...raftlog.Proposal) ([]raftlog.Outcome, error) {
	if turn := l.together.Load(); turn != nil {
		return (*turn)(all)
	}
	return l.Log.ProposeTogether(ctx, all...)
}

func startTurned(t *testing.T) (*node, *turnedLog) {
	t.Helper()
	turned := &turnedLog{}
	n := startNodeOver(t, t.TempDir(), Options{QuotaBackendBytes: 256 << 10}, func(l *raftlog.Log) Log {
		turned.Log = l
		return turned
	})
	return n, turned
}

// An alarm is this member's also when who needed space gave up before it was raised.
func TestAlarmOfWhoGaveUp(t *testing.T) {
	n, turned := startTurned(t)
	c, ctx := n.client(), testContext(t)
	n.pretendUsed(256 << 10)
	turned.forget.Store(true)
	if _, err := c.Put(ctx, "key", ""); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a full store says %v", err)
	}
	if !n.leases.quota.alarmed() {
		t.Fatal("no alarm")
	}
	turned.forget.Store(false)
	eventually(t, "the alarm is disarmed", func() bool { return !raised(ctx, t, c) })
}

// A look at the alarms while a vital write stands between their end and their beginning does not
// make this member forget that one is its own.
func TestWithdrawalDuringVitalWrite(t *testing.T) {
	n, turned := startTurned(t)
	c, ctx := n.client(), testContext(t)
	if _, err := c.Put(ctx, nodeLease, "before"); err != nil {
		t.Fatal(err)
	}
	fill(ctx, t, c)
	between := func(all []raftlog.Proposal) ([]raftlog.Outcome, error) {
		first, err := turned.Log.ProposeTogether(ctx, all[:1]...)
		if err != nil {
			return nil, err
		}
		n.leases.quota.withdraw()
		rest, err := turned.Log.ProposeTogether(ctx, all[1:]...)
		return append(first, rest...), err
	}
	turned.together.Store(&between)
	if resp, err := update(ctx, c, nodeLease, "full"); err != nil || !resp.Succeeded {
		t.Fatalf("a vital write: %v, %v", resp, err)
	}
	turned.together.Store(nil)
	if !raised(ctx, t, c) {
		t.Fatal("a vital write has disarmed the alarm")
	}
	empty(ctx, t, c)
	eventually(t, "the alarm is disarmed", func() bool { return !raised(ctx, t, c) })
}

// An alarm that is disarmed while a vital write is on its way stays so.
func TestDisarmDuringVitalWrite(t *testing.T) {
	n, turned := startTurned(t)
	c, ctx := n.client(), testContext(t)
	if _, err := c.Put(ctx, nodeLease, "before"); err != nil {
		t.Fatal(err)
	}
	const stranger = 123 // a member that is gone
	alarm := &pb.AlarmRequest{MemberID: stranger, Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, alarm); err != nil {
		t.Fatal(err)
	}
	disarmed := func(all []raftlog.Proposal) ([]raftlog.Outcome, error) {
		if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: stranger, Alarm: pb.AlarmType_NOSPACE}); err != nil {
			t.Error(err)
		}
		return turned.Log.ProposeTogether(ctx, all...)
	}
	turned.together.Store(&disarmed)
	if resp, err := update(ctx, c, nodeLease, "full"); err != nil || !resp.Succeeded {
		t.Fatalf("a vital write: %v, %v", resp, err)
	}
	if raised(ctx, t, c) {
		t.Error("a vital write has raised an alarm again that was disarmed")
	}
}

// An alarm of an earlier run that only the log has is this member's, too.
func TestAlarmInTheLog(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir, Options{QuotaBackendBytes: 256 << 10})
	fill(testContext(t), t, n.client())
	n.close()
	files, err := filepath.Glob(filepath.Join(dir, "keelson.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	n = startNode(t, dir, Options{QuotaBackendBytes: 256 << 10})
	c, ctx := n.client(), testContext(t)
	if !raised(ctx, t, c) {
		t.Error("no alarm after a restart")
	}
	empty(ctx, t, c)
	eventually(t, "the alarm is disarmed", func() bool { return !raised(ctx, t, c) })
}

// Vital writes do not fill the disk when nothing is compacted; what leads to a compaction passes.
func TestVitalWritesAreBounded(t *testing.T) {
	const limit = 1 << 30
	n := startNode(t, t.TempDir(), Options{QuotaBackendBytes: limit})
	c, ctx := n.client(), testContext(t)
	for _, key := range []string{nodeLease, compactRecord} {
		if _, err := c.Put(ctx, key, "before"); err != nil {
			t.Fatal(err)
		}
	}
	for used, want := range map[int64]error{limit: nil, limit * 5 / 4: rpctypes.ErrNoSpace} {
		n.pretendUsed(used)
		if _, err := c.Put(ctx, "key", ""); !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Errorf("a put with %d bytes used: %v", used, err)
		}
		if _, err := update(ctx, c, nodeLease, "full"); !errors.Is(err, want) {
			t.Errorf("a node's lease with %d bytes used: %v", used, err)
		}
		if _, err := update(ctx, c, compactRecord, "full"); err != nil {
			t.Errorf("the compactor's record with %d bytes used: %v", used, err)
		}
	}
}

// pretendUsed has writes checked against a figure of the space that rows take.
func (n *node) pretendUsed(bytes int64) {
	n.leases.quota.sampled.Store(&usageSample{at: n.opts.Clock.Now().Add(time.Hour), used: bytes})
}
