// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"keelson.io/keelson/test/e2e/controlplane"
)

// restartAfter is how long a member of the store stays down that was killed, so
// that one can look at a cluster without it.
const restartAfter = 10 * time.Second

// keepMembers starts members of the store again that have ended, as systemd or a
// kubelet would, until ctx is done. A store of one member is the cluster's to
// watch.
func keepMembers(ctx context.Context, store *controlplane.Datastore, say func(string)) {
	if len(store.Members()) == 1 {
		return
	}
	var all sync.WaitGroup
	for _, m := range store.Members() {
		all.Go(func() { keepMember(ctx, m, say) })
	}
	all.Wait()
}

func keepMember(ctx context.Context, m *controlplane.Member, say func(string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.Process().Done():
		}
		say(fmt.Sprintf("%s has ended, starting it again in %v", m.Name(), restartAfter))
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartAfter):
		}
		startCtx, cancel := context.WithTimeout(ctx, startTimeout)
		err := m.Start(startCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			say(fmt.Sprintf("%s: %v", m.Name(), err))
		default:
			say(fmt.Sprintf("%s is back: kill -9 %d", m.Name(), m.Process().PID()))
		}
	}
}
