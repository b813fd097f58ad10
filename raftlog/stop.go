// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
)

// Stop ends the log in order: it takes no more proposals, applies what is committed, makes the state machine
// durable and closes the files. What ctx does not leave time for is left to the next start, which replays
// it. What hangs in the storage or the state machine is left behind, and nothing is closed then. The error
// says what was left undone. Calls after the first wait for it and return the same.
func (l *Log) Stop(ctx context.Context) error {
	l.stop.Do(func() { l.stopErr = l.stopOnce(ctx) })
	return l.stopErr
}

func (l *Log) stopOnce(ctx context.Context) error {
	l.props.close(ErrStopped)
	err := l.drain(ctx)
	l.die(nil)
	if stuck := l.closeRoles(ctx); stuck != nil {
		return errors.Join(err, stuck)
	}
	close(l.quit)
	l.goroutines.Wait()
	if durable, perr := l.sm.Persist(ctx); perr != nil {
		err = errors.Join(err, fmt.Errorf("make the state machine durable: %w", perr))
	} else {
		l.durable.Store(durable)
	}
	if l.err.Load() == nil && l.held != nil && len(l.appends) == 0 && l.saving == 0 {
		// Not needed to be correct: it spares the next start from finding out what is committed. It must
		// not get ahead of entries that are not saved.
		err = errors.Join(err, l.storage.Save(l.held, nil))
	}
	return errors.Join(err, l.storage.Close(), l.lock.Release())
}

// stopGrace is how long after its context's end Stop waits for what is being done at the moment.
const stopGrace = time.Second

// drainPollInterval is how often Stop looks whether everything is applied.
const drainPollInterval = time.Millisecond

// closeRoles waits until nobody writes, applies or snapshots any more. Who hangs in the storage or the state
// machine past ctx and a moment cannot be waited for; then nothing can be closed either.
func (l *Log) closeRoles(ctx context.Context) error {
	closing := []<-chan struct{}{l.writer.close(), l.applier.close(), l.snapshotter.close()}
	for i, doing := range []string{"save the log", "apply", "snapshot"} {
		select {
		case <-closing[i]:
			continue
		case <-ctx.Done():
		}
		grace := l.opts.Clock.NewTimer(stopGrace)
		select {
		case <-closing[i]:
			grace.Stop()
		case <-grace.C():
			return fmt.Errorf("an attempt to %s hangs: %w", doing, ctx.Err())
		}
	}
	return nil
}

// drain waits until everything that was accepted is applied.
func (l *Log) drain(ctx context.Context) error {
	t := l.opts.Clock.NewTicker(drainPollInterval)
	defer t.Stop()
	for !l.drained() {
		select {
		case <-t.C():
		case <-l.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("finish what was accepted: %w", ctx.Err())
		}
	}
	return nil
}

// drained says that nothing that was accepted is on its way.
func (l *Log) drained() bool {
	queued := l.props.queued()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader.Load() != raft.None && queued > 0 || len(l.appends) > 0 || l.saving > 0 || len(l.applies) > 0 {
		return false
	}
	if l.applied.Load() < l.committed.Load() {
		return false
	}
	last, err := l.mem.LastIndex()
	return err != nil || !l.leads.Load() || l.committed.Load() >= last
}
