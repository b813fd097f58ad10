// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// deletedPart of the pods is deleted, and compacted, before a defragmentation, so that there is
// something to give back.
const deletedPart = 10

// defragStall puts one value after the other while the server defragments, and on for d after it said
// that it had, because it may have said so at once. The value is the longest put in milliseconds.
func defragStall(d time.Duration) func(context.Context, *server) (measurement, error) {
	return func(ctx context.Context, s *server) (measurement, error) {
		c, err := dial(s.addresses, 2)
		if err != nil {
			return measurement{}, err
		}
		defer c.close()
		if err := deleteSome(ctx, c); err != nil {
			return measurement{}, err
		}
		if _, err := s.rest(ctx); err != nil {
			return measurement{}, err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defragmented := make(chan error, 1)
		go func() {
			_, err := pb.NewMaintenanceClient(c.conn(1)).Defragment(ctx, &pb.DefragmentRequest{})
			defragmented <- err
		}()
		return putsUntil(ctx, c, defragmented, d)
	}
}

// putsUntil puts until d has passed since defragmented got something.
func putsUntil(ctx context.Context, c *client, defragmented <-chan error, d time.Duration) (measurement, error) {
	var (
		all   latencies
		until time.Time
		v     = value(256, rand.New(rand.NewPCG(1, 1)))
	)
	for until.IsZero() || time.Now().Before(until) {
		select {
		case err := <-defragmented:
			if err != nil {
				return measurement{}, fmt.Errorf("defragment: %w", err)
			}
			until = time.Now().Add(d)
		default:
		}
		took, err := persistentPut(ctx, c, fmt.Sprintf("/registry/configmaps/bench/%04d", len(all)%1000), v)
		if err != nil {
			return measurement{}, err
		}
		all = append(all, took)
	}
	m := measurement{value: float64(all.percentile(1)) / float64(time.Millisecond)}
	m.latency(all)
	return m, nil
}

// persistentPut puts until it succeeds, and returns how long that took: to whom must write, a put that
// times out is a slow one.
func persistentPut(ctx context.Context, c *client, key string, v []byte) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*operationTimeout)
	defer cancel()
	start := time.Now()
	for {
		err := c.put(ctx, 0, key, v)
		if err == nil || ctx.Err() != nil {
			return time.Since(start), err
		}
	}
}

// deleteSome deletes a part of the pods and compacts.
func deleteSome(ctx context.Context, c *client) error {
	last, err := c.kv(0).Range(ctx, allPodsCount())
	if err != nil {
		return err
	}
	revision := int64(0)
	for n := range int(last.Count) / deletedPart {
		resp, err := c.kv(0).DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(podKey(n * deletedPart))})
		if err != nil {
			return err
		}
		if resp.Deleted != 1 {
			return errors.New("a pod that should be there is not")
		}
		revision = resp.Header.Revision
	}
	if revision == 0 {
		return errors.New("too few pods to delete some")
	}
	_, err = c.kv(0).Compact(ctx, &pb.CompactionRequest{Revision: revision, Physical: true})
	return err
}
