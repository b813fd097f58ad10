// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// getLoad gets pods, linearizably.
type getLoad struct {
	callers, pods int
	duration      time.Duration
}

func (l getLoad) run(ctx context.Context, s *server) (measurement, error) {
	c, err := dial(s.addresses, min(l.callers, 10))
	if err != nil {
		return measurement{}, err
	}
	defer c.close()
	return load{l.callers, l.duration, func(ctx context.Context, i int, rng *rand.Rand) error {
		resp, err := c.kv(i).Range(ctx, &pb.RangeRequest{Key: []byte(podKey(rng.IntN(l.pods)))})
		if err == nil && len(resp.Kvs) != 1 {
			err = fmt.Errorf("a get found %d keys", len(resp.Kvs))
		}
		return err
	}}.measure(ctx, s)
}

// rangeLoad asks for the pods, or a part of them, again and again.
func rangeLoad(callers int, d time.Duration, request func() *pb.RangeRequest) func(context.Context, *server) (measurement, error) {
	return func(ctx context.Context, s *server) (measurement, error) {
		c, err := dial(s.addresses, callers)
		if err != nil {
			return measurement{}, err
		}
		defer c.close()
		return load{callers, d, func(ctx context.Context, i int, _ *rand.Rand) error {
			r := request()
			resp, err := c.kv(i).Range(ctx, r)
			switch {
			case err != nil:
				return err
			case resp.Count == 0:
				return fmt.Errorf("no pods")
			case r.CountOnly:
				return nil
			case r.Limit > 0 && int64(len(resp.Kvs)) != min(r.Limit, resp.Count):
				return fmt.Errorf("a page of %d pods out of %d", len(resp.Kvs), resp.Count)
			case r.Limit == 0 && int64(len(resp.Kvs)) != resp.Count:
				return fmt.Errorf("a list of %d pods out of %d", len(resp.Kvs), resp.Count)
			}
			return nil
		}}.measure(ctx, s)
	}
}

func allPods() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(podsStart), RangeEnd: []byte(podsEnd)}
}

func allPodsCount() *pb.RangeRequest {
	r := allPods()
	r.CountOnly = true
	return r
}

// pageLoad lists first pages, as every paged list begins: the count that goes with it is of all.
func pageLoad(d time.Duration) func(context.Context, *server) (measurement, error) {
	return rangeLoad(4, d, func() *pb.RangeRequest {
		r := allPods()
		r.Limit = 500
		return r
	})
}

func countLoad(d time.Duration) func(context.Context, *server) (measurement, error) {
	return rangeLoad(4, d, allPodsCount)
}

func listLoad(d time.Duration) func(context.Context, *server) (measurement, error) {
	return rangeLoad(1, d, allPods)
}
