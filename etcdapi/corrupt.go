// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// Members that have applied the same entries have the same history. Whether they
// do is checked in etcd's three ways, by hashes: a member before it serves, the
// leader by the hashes that compactions leave behind, which costs next to nothing,
// and, if asked for, the leader by hashes of everything.

// corruption compares this member's history with that of the others.
type corruption struct {
	*core
	hashes hashStore

	mu      sync.Mutex
	checked int64 // the newest compacted revision at which all members were equal
}

// hashStore gives hashes of the local history; *sqlstore.Store is one.
type hashStore interface {
	HashKV(ctx context.Context, revision int64) (sqlstore.HashResult, error)
	CompactHashes() []sqlstore.HashResult
}

// CheckInitialCorruption compares this member's history with that of every member
// that can be reached, at this member's revision. It is to be called before
// clients are served. The error names the members that differ; then this member
// must not serve. Members that can't be reached, are behind, or have compacted
// otherwise, are no error. It is ctx's if that ends before.
func (s *Server) CheckInitialCorruption(ctx context.Context) error { return s.corruption.initial(ctx) }

// initialAttempts is how often the first comparison begins again because this
// member's history moved on meanwhile.
const initialAttempts = 3

func (c *corruption) initial(ctx context.Context) error {
	lg := c.opts.Logger.With(zap.Stringer("local-member-id", types.ID(c.memberID)))
	lg.Info("starting initial corruption check", zap.Duration("timeout", c.opts.requestTimeout()))
	for range initialAttempts {
		err := c.compareOwn(ctx, lg)
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // members that did not answer were not given the time
		case err == nil:
			lg.Info("initial corruption checking passed; no corruption")
			return nil
		case !errors.Is(err, sqlstore.ErrCompacted) && !errors.Is(err, sqlstore.ErrFutureRevision):
			return err
		}
		// A snapshot was restored, or a compaction came, since the revision was read.
		lg.Info("this member's history has moved on during the initial corruption check", zap.Error(err))
	}
	lg.Warn("initial corruption checking did not come to an end; the leader checks the histories, too")
	return nil
}

// compareOwn compares this member's history, as it is now, with that of the others.
func (c *corruption) compareOwn(ctx context.Context, lg *zap.Logger) error {
	revision := c.store.Revision()
	if len(c.others()) == 0 || revision <= 1 {
		return nil // there is nobody, or nothing yet, to compare with
	}
	answers := make(chan []peerHash, 1)
	go func() { answers <- c.askAll(ctx, revision) }()
	own, err := c.hashes.HashKV(ctx, revision)
	peers := <-answers
	if err != nil {
		return fmt.Errorf("etcdapi: member %s cannot hash its own history: %w", types.ID(c.memberID), err)
	}
	var differ []string
	for _, p := range peers {
		fields := append(hashFields("local-member", own), p.fields()...)
		switch {
		case p.err != nil:
			lg.Warn("cannot compare with a remote peer", fields...)
		case p.hash.CompactRevision != own.CompactRevision:
			lg.Warn("found different compact revision values from remote peer", fields...)
		case p.hash.Hash != own.Hash:
			lg.Error("found different hash values from remote peer", fields...)
			differ = append(differ, fmt.Sprintf("%s (%s)", p.id, p.name))
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("etcdapi: member %s (%s) found data inconsistency with peers: at revision %d its history differs from that of %s",
			types.ID(c.memberID), c.opts.Name, own.HashRevision, strings.Join(differ, ", "))
	}
	return nil
}

// watchCompactions has the leader compare what compactions left behind, until
// the server stops.
func (c *corruption) watchCompactions() {
	c.every(c.opts.CompactHashCheckInterval, c.compactions)
}

// watchEverything has the leader compare whole histories, if that is asked for,
// until the server stops.
func (c *corruption) watchEverything() {
	c.every(c.opts.CorruptCheckTime, func(ctx context.Context) {
		if err := c.everything(ctx); err != nil && ctx.Err() == nil {
			c.opts.Logger.Warn("failed to check hash KV", zap.Error(err))
		}
	})
}

// every does a check at an interval, while this member leads. Not above 0: never.
func (c *corruption) every(interval time.Duration, check func(context.Context)) {
	if interval <= 0 {
		return
	}
	ticker := c.opts.Clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.Chan():
		case <-c.stop.Done():
			return
		}
		if c.log.Leader() == c.memberID {
			check(c.stop)
		}
	}
}

// compactions looks for the newest compaction whose hash all members have, and
// raises an alarm when the hashes of one compaction differ. Members compact at
// the same revisions, but not at the same time: where some have no hash yet the
// compaction before is looked at.
func (c *corruption) compactions(ctx context.Context) {
	for _, own := range c.unchecked() {
		peers := c.askAll(ctx, own.HashRevision)
		if len(peers) == 0 || c.compare(ctx, own, peers) {
			return
		}
	}
}

// unchecked are the hashes of compactions, newest first, at which not all members
// were found equal yet.
func (c *corruption) unchecked() []sqlstore.HashResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.hashes.CompactHashes())
	slices.SortFunc(all, func(a, b sqlstore.HashResult) int { return int(b.HashRevision - a.HashRevision) })
	return slices.DeleteFunc(all, func(h sqlstore.HashResult) bool { return h.HashRevision <= c.checked })
}

// compare groups the members by their hashes of one compaction. On false some
// have none, and the others are equal.
func (c *corruption) compare(ctx context.Context, own sqlstore.HashResult, peers []peerHash) bool {
	groups := map[uint32][]uint64{own.Hash: {c.memberID}}
	answered := 0
	for _, p := range peers {
		if p.err != nil || p.hash.CompactRevision != own.CompactRevision {
			c.opts.Logger.Warn("skipped a peer in the compaction hash check",
				append(hashFields("leader", own), p.fields()...)...)
			continue
		}
		answered++
		groups[p.hash.Hash] = append(groups[p.hash.Hash], uint64(p.id))
	}
	if len(groups) > 1 {
		c.accuse(ctx, own, groups, (len(peers)+1)/2+1)
		return true
	}
	if answered < len(peers) {
		return false
	}
	c.opts.Logger.Info("successfully checked hash on whole cluster", hashFields("leader", own)...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = max(c.checked, own.HashRevision)
	return true
}

// accuse raises the alarm of every member whose hash is not that of a quorum.
// When no quorum has the same hash nobody knows who is wrong: the alarm is
// member 0's then, the whole cluster's.
func (c *corruption) accuse(ctx context.Context, own sqlstore.HashResult, groups map[uint32][]uint64, quorum int) {
	decided := false
	for hash, members := range groups {
		if len(members) >= quorum {
			decided = true
			delete(groups, hash)
			break
		}
	}
	var accused []uint64
	for hash, members := range groups {
		names := make([]string, len(members))
		for i, id := range members {
			names[i] = types.ID(id).String()
		}
		c.opts.Logger.Error("detected compaction hash mismatch", append(hashFields("leader", own),
			zap.Uint32("peer-hash", hash), zap.Strings("peer-ids", names), zap.Bool("quorum-exist", decided))...)
		accused = append(accused, members...)
	}
	if !decided {
		accused = []uint64{0}
	}
	slices.Sort(accused)
	for _, id := range accused {
		c.raise(ctx, id)
	}
}

// everything compares the members' whole histories at the leader's revision. A
// member that is ahead of the leader, or differs, is wrong; so is the leader if
// its own history changes while nothing happens. Errors: those of the leader's
// own hashes, and of its leadership.
func (c *corruption) everything(ctx context.Context) error {
	before, err := c.hashes.HashKV(ctx, 0)
	if err != nil {
		return err
	}
	peers := c.askAll(ctx, before.HashRevision)
	if err := c.linearize(ctx); err != nil {
		return err
	}
	after, err := c.hashes.HashKV(ctx, 0)
	if err != nil {
		return err
	}
	wrong := func(id uint64, why string, fields ...zap.Field) {
		c.opts.Logger.Error(why, append(hashFields("leader", before), fields...)...)
		c.raise(ctx, id)
	}
	if after.Hash != before.Hash && after.HashRevision == before.HashRevision && after.CompactRevision == before.CompactRevision {
		wrong(c.memberID, "found hash mismatch with the leader itself", zap.Uint32("leader-hash-2", after.Hash))
	}
	answered := 0
	for _, p := range peers {
		switch {
		case p.err != nil:
			c.opts.Logger.Warn("skipped a peer in the check of whole histories",
				append(hashFields("leader", before), p.fields()...)...)
			continue
		case p.hash.Current > after.Current:
			wrong(uint64(p.id), "revision from follower must be less than or equal to leader's", p.fields()...)
		case p.hash.CompactRevision > after.CompactRevision:
			wrong(uint64(p.id), "compact revision from follower must be less than or equal to leader's", p.fields()...)
		case p.hash.CompactRevision == before.CompactRevision && p.hash.Hash != before.Hash:
			wrong(uint64(p.id), "same compact revision then hashes must match", p.fields()...)
		}
		answered++
	}
	c.opts.Logger.Info("finished peer corruption check", zap.Int("number-of-peers-checked", answered))
	return nil
}

// raise raises a member's CORRUPT alarm, through the log, if it is not raised
// already.
func (c *corruption) raise(ctx context.Context, member uint64) {
	raised := slices.ContainsFunc(c.store.Alarms(pb.AlarmType_CORRUPT), func(a *pb.AlarmMember) bool {
		return a.MemberID == member
	})
	if raised {
		return
	}
	_, err := c.proposeMessage(ctx, wire.KindAlarm, &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: pb.AlarmType_CORRUPT,
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		// The next check finds the same.
		c.opts.Logger.Warn("failed to raise a CORRUPT alarm", zap.Stringer("member-id", types.ID(member)), zap.Error(err))
	}
}

func hashFields(of string, h sqlstore.HashResult) []zap.Field {
	return []zap.Field{
		zap.Int64(of+"-revision", h.HashRevision),
		zap.Int64(of+"-compact-revision", h.CompactRevision),
		zap.Uint32(of+"-hash", h.Hash),
	}
}
