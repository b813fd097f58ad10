// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
	"go.uber.org/zap"
)

// TransferLeadership hands leadership to a voter, 0 meaning the one best fit for it, and waits until it leads, or, if
// it was this log's choice, until anybody else does. While it is tried, proposals wait. Errors: ErrNoLeader when this
// member does not lead or there is nobody to hand over to: at once, or, when nobody is fit at the moment, after the
// time in which followers must be heard from; ErrStopped, ctx's.
func (l *Log) TransferLeadership(ctx context.Context, to uint64) error {
	for hope := true; ; {
		chosen, err := l.transfer(to)
		if err != nil {
			// raft forgets now and then whom it has heard from: a heartbeat later it knows again.
			if !hope || !l.mayTransfer(to) {
				return err
			}
			hope, chosen = false, raft.None
		}
		// raft gives a transfer up after the time of an election; it is asked again then.
		if done, err := l.waitTransferred(ctx, to, chosen); done || err != nil {
			return err
		}
	}
}

// transfer begins to hand leadership over and returns to whom.
func (l *Log) transfer(to uint64) (uint64, error) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return raft.None, ErrStopped
	}
	if to == raft.None {
		to = l.bestFollowerLocked()
	} else if !l.isFollowerLocked(to) {
		to = raft.None
	}
	if !l.leads.Load() || to == raft.None {
		l.mu.Unlock()
		return raft.None, ErrNoLeader
	}
	l.rn.TransferLeader(to)
	l.advanceLocked()
	l.unlockAndWake()
	return to, nil
}

// mayTransfer says that there may be somebody to choose in a moment.
func (l *Log) mayTransfer(to uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return to == raft.None && !l.dead && !l.alone && l.leads.Load()
}

// heartbeatsToHear is within how many heartbeats a follower that is fit to lead is heard from.
const heartbeatsToHear = 2

// waitTransferred waits until the member chosen leads, or anybody else if the caller left the choice to the log. It
// does not wait longer than an election takes, and, if nobody was chosen, than it takes to hear from somebody.
func (l *Log) waitTransferred(ctx context.Context, to, chosen uint64) (bool, error) {
	ticks := l.opts.ElectionTicks
	if chosen == raft.None {
		ticks = heartbeatsToHear
	}
	timeout := l.opts.Clock.NewTimer(time.Duration(ticks) * l.opts.TickInterval)
	defer timeout.Stop()
	for {
		changed := l.LeaderChanged()
		leader := l.leader.Load()
		if leader == chosen && chosen != raft.None || to == raft.None && leader != raft.None && leader != l.identity.MemberID {
			return true, nil
		}
		select {
		case <-changed:
		case <-timeout.C():
			return false, nil
		case <-l.done:
			return false, ErrStopped
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// checkStallLocked hands leadership over when a save has taken longer than followers wait for a leader:
// this member's heartbeats go on, so nobody else would notice that its disk does not.
func (l *Log) checkStallLocked() {
	if l.saving == 0 || !l.leads.Load() || l.alone {
		l.stalledTicks = 0
		return
	}
	l.stalledTicks++
	if l.stalledTicks < l.opts.ElectionTicks {
		return
	}
	if to := l.bestFollowerLocked(); to != raft.None {
		l.stalledTicks = 0 // the new leader has as long to come forward
		l.opts.Logger.Warn("the log's disk stalls, handing leadership over", zap.String("to", fmt.Sprintf("%x", to)))
		l.rn.TransferLeader(to)
	}
}

// bestFollowerLocked returns the voter that is best fit to lead next: heard from lately, not in need of the whole state,
// and with the most of the log; None if none is.
func (l *Log) bestFollowerLocked() uint64 {
	best, match := uint64(raft.None), uint64(0)
	l.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		fit := typ == raft.ProgressTypePeer && id != l.identity.MemberID && pr.RecentActive && pr.State != tracker.StateSnapshot
		if fit && (pr.Match > match || best == raft.None) {
			best, match = id, pr.Match
		}
	})
	return best
}

// isFollowerLocked says that id is a voter other than this member.
func (l *Log) isFollowerLocked(id uint64) bool {
	found := false
	l.rn.WithProgress(func(member uint64, typ raft.ProgressType, _ tracker.Progress) {
		found = found || member == id && typ == raft.ProgressTypePeer && id != l.identity.MemberID
	})
	return found
}
