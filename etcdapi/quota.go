// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// What a write is taken to need on top of its keys and values, in bytes, as
// etcd estimates it.
const (
	keyOverheadBytes   = 256
	leaseOverheadBytes = 64
)

// quota refuses writes for which there is no space left under
// Options.QuotaBackendBytes and then raises the NOSPACE alarm, which makes all
// members refuse what grows the store until it is disarmed. Space is what rows
// take up: free pages of the file count as free.
type quota struct {
	*core
	raising atomic.Bool
	// mine says that this member has raised its alarm for want of space, once at least.
	// It stays so: an alarm can come late, when who asked for it has given up, and it
	// comes and goes with each vital write.
	mine    atomic.Bool
	sampled atomic.Pointer[usageSample]
}

// usageSample is the space that rows took at a time.
type usageSample struct {
	at   time.Time
	used int64
}

// usageMaxAge is how old the figure may be that writes are checked against, so
// that not every write asks the database. What is written meanwhile may exceed
// the quota.
const usageMaxAge = 20 * time.Millisecond

// used returns the space that rows take, as of at most usageMaxAge ago.
func (q *quota) used() int64 {
	now := q.opts.Clock.Now()
	if s := q.sampled.Load(); s != nil && now.Sub(s.at) < usageMaxAge {
		return s.used
	}
	s := &usageSample{at: now, used: q.usage().used}
	q.sampled.Store(s)
	return s.used
}

// check returns sqlstore.ErrNoSpace when cost bytes do not fit any more.
func (q *quota) check(ctx context.Context, cost int) error {
	limit := q.opts.QuotaBackendBytes
	if limit < 0 || cost == 0 {
		return nil
	}
	if q.used()+int64(cost) < limit {
		return nil
	}
	q.raise(ctx)
	return sqlstore.ErrNoSpace
}

// raise proposes the alarm unless it is raised already or on its way.
func (q *quota) raise(ctx context.Context) {
	if q.alarmed() {
		return
	}
	if !q.raising.CompareAndSwap(false, true) {
		return
	}
	defer q.raising.Store(false)
	q.opts.Logger.Warn("message exceeded backend quota; raising alarm",
		zap.Int64("quota-size-bytes", q.opts.QuotaBackendBytes))
	q.mine.Store(true) // though it may fail: it may also come true later
	_, err := q.proposeMessage(authority.AsRoot(ctx), wire.KindAlarm, &pb.AlarmRequest{
		MemberID: q.memberID,
		Action:   pb.AlarmRequest_ACTIVATE,
		Alarm:    pb.AlarmType_NOSPACE,
	})
	if err != nil {
		// The request is refused all the same; the next one tries again.
		q.opts.Logger.Warn("failed to raise alarm", zap.Error(err))
	}
}

func putCost(r *pb.PutRequest) int { return keyOverheadBytes + len(r.Key) + len(r.Value) }

// txnCost is that of the costlier branch.
func txnCost(r *pb.TxnRequest) int {
	return max(opsCost(r.Success), opsCost(r.Failure))
}

func opsCost(ops []*pb.RequestOp) int {
	cost := 0
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			cost += putCost(p)
		}
		if t := op.GetRequestTxn(); t != nil {
			cost += txnCost(t)
		}
	}
	return cost
}

// usage is the size of the store in bytes.
type usage struct {
	total int64 // of the file
	used  int64 // by rows
}

func (c *core) usage() usage {
	s := c.store.Stats().DB
	return usage{total: s.TotalBytes, used: s.TotalBytes - s.FreeBytes}
}
