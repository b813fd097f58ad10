// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// value returns n bytes that do not compress to nothing.
func value(n int, rng *rand.Rand) []byte {
	v := make([]byte, n)
	for i := range v {
		v[i] = byte('a' + rng.IntN(26))
	}
	return v
}

// putLoad puts values of so many bytes under keys of which each caller has some of its own.
type putLoad struct {
	callers, conns, bytes int
	duration              time.Duration
}

func (l putLoad) run(ctx context.Context, s *server) (measurement, error) {
	c, err := dial(s.addresses, l.conns)
	if err != nil {
		return measurement{}, err
	}
	defer c.close()
	const keys = 100
	v := value(l.bytes, rand.New(rand.NewPCG(1, 1)))
	return load{l.callers, l.duration, func(ctx context.Context, i int, rng *rand.Rand) error {
		return c.put(ctx, i, fmt.Sprintf("/registry/configmaps/bench-%04d/%04d", i, rng.IntN(keys)), v)
	}}.measure(ctx, s)
}

const (
	leases      = 1000
	leaseBytes  = 320
	leaseCaller = 100
)

// errConflict is an optimistic update that failed though nobody else updates the key.
var errConflict = errors.New("a transaction found another revision than it should have")

// leaseUpdates updates node Leases as kube-apiserver does: a put if the mod revision is the one last
// seen, with a get otherwise. Each caller has its own.
func leaseUpdates(d time.Duration) func(context.Context, *server) (measurement, error) {
	return func(ctx context.Context, s *server) (measurement, error) {
		c, err := dial(s.addresses, 10)
		if err != nil {
			return measurement{}, err
		}
		defer c.close()
		rng := rand.New(rand.NewPCG(1, 1))
		v := value(leaseBytes, rng)
		revisions := make([]int64, leases)
		for i := range revisions {
			if revisions[i], err = updateLease(ctx, c, i, 0, v); err != nil {
				return measurement{}, err
			}
		}
		const own = leases / leaseCaller
		return load{leaseCaller, d, func(ctx context.Context, i int, rng *rand.Rand) error {
			n := i*own + rng.IntN(own)
			revision, err := updateLease(ctx, c, n, revisions[n], v)
			revisions[n] = revision
			return err
		}}.measure(ctx, s)
	}
}

// updateLease puts node n's Lease if its mod revision is expected, and returns the new one.
func updateLease(ctx context.Context, c *client, n int, expected int64, v []byte) (int64, error) {
	key := fmt.Appendf(nil, "/registry/leases/kube-node-lease/node-%04d", n)
	resp, err := c.kv(n).Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: expected},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: v}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	})
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, errConflict
	}
	return resp.Header.Revision, nil
}

const (
	podBytes  = 1024
	podsStart = "/registry/pods/"
	podsEnd   = "/registry/pods0"
)

// podKey is the key of pod n, in one of some namespaces.
func podKey(n int) string {
	return fmt.Sprintf("%snamespace-%02d/pod-%07d", podsStart, n%50, n)
}

// loadPods puts pods 0 to n-1, each by a request of its own, as API servers would have.
func loadPods(ctx context.Context, s *server, n int) error {
	const callers, conns = 200, 20
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := dial(s.addresses, conns)
	if err != nil {
		return err
	}
	defer c.close()
	var (
		wg   sync.WaitGroup
		errs = make([]error, callers)
	)
	for i := range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for pod := i; pod < n; pod += callers {
				if errs[i] = c.put(ctx, i, podKey(pod), value(podBytes, rng)); errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	if err := firstCause(errs); err != nil {
		return fmt.Errorf("load pods: %w", err)
	}
	return nil
}
