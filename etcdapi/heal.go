// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/registry"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// A full store heals by itself: deletions and compactions are taken as in etcd, and
// beyond etcd the few writes without which a Kubernetes cluster falls apart before
// anything is deleted, or nothing is ever compacted (see registry.Vital). And the
// alarm is withdrawn when there is space again.
//
// None of this changes what an entry does when it is applied, which must be the same
// on all members, among them an etcd that may join later and apply the whole log. A
// vital write stands in the log between entries that disarm the alarms and raise them
// again, one right after the other.

// vitalAttempts bounds how often a vital write is tried when alarms are raised and
// disarmed meanwhile.
const vitalAttempts = 5

// Vital writes may exceed the quota, should nothing be compacted, by a part of it or
// by some bytes, whichever is more. What leads to a compaction may always be written.
const (
	vitalShare = 4
	vitalBytes = 64 << 20
)

// passes reports whether a transaction is taken although there is no space.
func (q *quota) passes(r *pb.TxnRequest) bool {
	if q.opts.QuotaAsEtcd || !registry.Vital(r) {
		return false
	}
	limit := q.opts.QuotaBackendBytes
	return limit < 0 || q.used() < limit+max(limit/vitalShare, vitalBytes) || registry.Classify(r) == registry.ShapeCompactRecord
}

// proposeVital is propose for a transaction that passes.
func (q *quota) proposeVital(ctx context.Context, r proposal) (outcome sqlstore.Outcome, err error) {
	for range vitalAttempts {
		alarms := q.store.Alarms(pb.AlarmType_NOSPACE)
		if len(alarms) == 0 {
			outcome, err = q.propose(ctx, wire.KindTxn, r)
		} else {
			start := q.opts.Clock.Now()
			outcome, err = q.proposeBetween(ctx, alarms, r)
			q.metrics.proposal(wire.KindTxn).observe(q.since(start), err)
		}
		if !errors.Is(err, sqlstore.ErrNoSpace) {
			break
		}
	}
	return outcome, err
}

// proposeBetween proposes a request after entries that disarm alarms, and before
// others that raise them. An alarm that was disarmed before all that stays so.
func (q *quota) proposeBetween(ctx context.Context, alarms []*pb.AlarmMember, r proposal) (sqlstore.Outcome, error) {
	header, err := q.entryHeader(ctx, wire.KindTxn)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	id, data := header.ID, r.Entry(header)
	if len(data) > q.opts.MaxRequestBytes {
		return sqlstore.Outcome{}, errRequestTooLarge
	}
	disarm, err := q.alarmEntries(alarms, pb.AlarmRequest_DEACTIVATE)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	raise, err := q.alarmEntries(alarms, pb.AlarmRequest_ACTIVATE)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	bounded, cancel := q.bounded(ctx)
	defer cancel()
	start := q.opts.Clock.Now()
	all := append(append(disarm, raftlog.Proposal{ID: id, Data: data}), raise...)
	outcomes, err := q.log.ProposeTogether(bounded, all...)
	if err == nil {
		q.disarmAgain(alarms, outcomes[:len(disarm)])
		err = outcomes[len(disarm)].Err
	}
	if err != nil {
		return sqlstore.Outcome{}, q.proposalError(err, start)
	}
	outcome := outcomes[len(disarm)].Value.(*sqlstore.Outcome)
	return *outcome, outcome.Err
}

// disarmAgain disarms the alarms that were not raised any more when they were
// disarmed, for they were raised again.
func (q *quota) disarmAgain(alarms []*pb.AlarmMember, disarmed []raftlog.Outcome) {
	for i, o := range disarmed {
		if o.Err != nil || len(o.Value.(*sqlstore.Outcome).Response.(*pb.AlarmResponse).Alarms) > 0 {
			continue
		}
		if err := q.disarm(alarms[i].MemberID); err != nil {
			q.opts.Logger.Warn("failed to disarm an alarm that was disarmed during a write", zap.Error(err))
		}
	}
}

// disarm proposes that a member's alarm for want of space is disarmed.
func (q *quota) disarm(member uint64) error {
	_, err := q.proposeMessage(q.stop, wire.KindAlarm, &pb.AlarmRequest{
		MemberID: member, Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE,
	})
	return err
}

// alarmEntries are those that do something to alarms.
func (q *quota) alarmEntries(alarms []*pb.AlarmMember, action pb.AlarmRequest_AlarmAction) ([]raftlog.Proposal, error) {
	var all []raftlog.Proposal
	for _, a := range alarms {
		raw, err := proto.Marshal(&pb.AlarmRequest{MemberID: a.MemberID, Action: action, Alarm: a.Alarm})
		if err != nil {
			return nil, err
		}
		id := q.ids.Next()
		all = append(all, raftlog.Proposal{ID: id, Data: encoded{wire.KindAlarm, raw}.Entry(wire.EntryHeader{ID: id})})
	}
	return all, nil
}

const (
	// healInterval is the time between two looks at a full store.
	healInterval = time.Second
	// healShare is the part of the quota that must be free again before the alarm is
	// withdrawn, so that it is not raised again at once.
	healShare = 20
)

// heal withdraws this member's alarm whenever there is space again, until the server
// stops. An alarm that somebody else has raised is left to them.
func (q *quota) heal() {
	if q.opts.QuotaAsEtcd {
		return
	}
	ticker := q.opts.Clock.NewTicker(healInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.Chan():
			q.withdraw()
		case <-q.stop.Done():
			return
		}
	}
}

// inherit has this member look after an alarm that an earlier run has raised. It is
// called when all entries of that run are applied and nobody is served yet.
func (q *quota) inherit() {
	if q.alarmed() {
		q.mine.Store(true)
	}
}

// withdraw withdraws the alarm if it is this member's own and there is space.
func (q *quota) withdraw() {
	if !q.mine.Load() || !q.alarmed() {
		return
	}
	limit, used := q.opts.QuotaBackendBytes, q.usage().used
	if limit >= 0 && used > limit-limit/healShare {
		return
	}
	q.opts.Logger.Info("there is space again; disarming alarm",
		zap.Int64("quota-size-bytes", limit), zap.Int64("used-bytes", used))
	if err := q.disarm(q.memberID); err != nil && q.stop.Err() == nil {
		q.opts.Logger.Warn("failed to disarm alarm", zap.Error(err)) // the next look tries again
	}
}

// alarmed reports whether this member's alarm is raised.
func (q *quota) alarmed() bool {
	for _, a := range q.store.Alarms(pb.AlarmType_NOSPACE) {
		if a.MemberID == q.memberID {
			return true
		}
	}
	return false
}
