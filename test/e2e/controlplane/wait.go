// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"net"
	"time"

	"keelson.io/keelson/test/e2e/proc"
)

// pollEvery is the pause between two looks at a condition.
const pollEvery = 100 * time.Millisecond

// await calls ready until it returns nil. It gives up with the last reason when
// ctx is done, and at once when p has ended.
func await(ctx context.Context, what string, p *proc.Process, ready func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if exited := p.Exited(); exited != nil {
			return exited
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (%w); last lines of its log:\n%s", what, ctx.Err(), err, p.LogTail(20))
		case <-p.Done():
		case <-tick.C:
		}
	}
}

// freePorts returns n loopback ports that nothing listened on a moment ago. All
// are held until the last is known, so they differ.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
