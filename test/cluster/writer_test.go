// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

const (
	keysPerWriter = 25
	counterKey    = "counter"
	// leaseTTLSeconds is longer than any test: no lease runs out.
	leaseTTLSeconds = 36000
)

// writer is a client that writes keys of its own, one request after the other, so that it knows at each moment what every one of
// them must hold. The counter is the only key that writers share.
type writer struct {
	id     int
	kv     pb.KVClient
	lease  pb.LeaseClient
	random *rand.Rand
	killed *atomic.Bool // set before the server is killed: errors are no faults any more

	record *record
	state  state // of the writer's own keys
	leases map[int64]bool
	// unsure are leases whose grant or revocation was not answered.
	unsure map[int64]bool
	serial int64
}

func newWriter(id int, conn *grpc.ClientConn, random *rand.Rand, killed *atomic.Bool) *writer {
	return &writer{
		id: id, kv: pb.NewKVClient(conn), lease: pb.NewLeaseClient(conn), random: random, killed: killed,
		state: state{}, leases: map[int64]bool{}, unsure: map[int64]bool{},
	}
}

// prefix is what the writer's own keys start with.
func (w *writer) prefix() string { return fmt.Sprintf("writer-%02d/", w.id) }

func (w *writer) key() string {
	return fmt.Sprintf("%skey-%02d", w.prefix(), w.random.IntN(keysPerWriter))
}

// value is one that nobody has written before.
func (w *writer) value() string {
	w.serial++
	padding := strings.Repeat("x", w.random.IntN(400))
	return fmt.Sprintf("%d %d %s", w.id, w.serial, padding)
}

// run writes until a request fails.
func (w *writer) run(ctx context.Context) {
	steps := []struct {
		share int // of 100
		step  func(context.Context) error
	}{
		{35, w.put}, {20, w.putIfUnchanged}, {10, w.remove}, {10, w.putSeveral}, {8, w.increment}, {7, w.useLease}, {10, w.read},
	}
	for {
		pick := w.random.IntN(100)
		for _, s := range steps {
			if pick -= s.share; pick < 0 {
				if err := s.step(ctx); err != nil {
					if !w.killed.Load() {
						w.record.fault("writer %d: %w", w.id, err)
					}
					return
				}
				break
			}
		}
	}
}

// done takes note of a write's answer; resp is not looked at when err is not nil. The revision is that of the answer's header.
func (w *writer) done(request write, start int64, header *pb.ResponseHeader, err error) error {
	if err != nil {
		w.record.doubt(request)
		return fmt.Errorf("%s: %w", request.what, err)
	}
	w.record.seen(request.what, start, header.Revision)
	w.record.ack(header.Revision, request)
	w.state.apply(header.Revision, request.changes)
	return nil
}

func (w *writer) put(ctx context.Context) error {
	c := change{key: w.key(), value: w.value()}
	start := w.record.newest.Load()
	resp, err := w.kv.Put(ctx, &pb.PutRequest{Key: []byte(c.key), Value: []byte(c.value)})
	return w.done(write{"put", []change{c}}, start, resp.GetHeader(), err)
}

// putIfUnchanged is kube-apiserver's way to write. As nobody else writes the key, the condition must hold.
func (w *writer) putIfUnchanged(ctx context.Context) error {
	c := change{key: w.key(), value: w.value()}
	var modRevision int64
	if current, ok := w.state[c.key]; ok {
		modRevision = current.ModRevision
	}
	start := w.record.newest.Load()
	resp, err := w.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{modRevisionIs(c.key, modRevision)},
		Success: []*pb.RequestOp{putOp(c)},
		Failure: []*pb.RequestOp{getOp(c.key)},
	})
	if err == nil && !resp.Succeeded {
		return fmt.Errorf("%s was written at revision %d, but the server holds %v", c.key, modRevision, resp.Responses)
	}
	return w.done(write{"put if unchanged", []change{c}}, start, resp.GetHeader(), err)
}

func (w *writer) remove(ctx context.Context) error {
	c := change{key: w.key(), delete: true}
	request := write{what: "delete"}
	if _, ok := w.state[c.key]; ok {
		request.changes = []change{c}
	}
	start := w.record.newest.Load()
	resp, err := w.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(c.key)})
	if err == nil && resp.Deleted != int64(len(request.changes)) {
		return fmt.Errorf("delete of %s: %d keys were there, want %d", c.key, resp.Deleted, len(request.changes))
	}
	return w.done(request, start, resp.GetHeader(), err)
}

// putSeveral writes several keys in one transaction: all at one revision, or none.
func (w *writer) putSeveral(ctx context.Context) error {
	request := write{what: "put several"}
	var ops []*pb.RequestOp
	for _, i := range w.random.Perm(keysPerWriter)[:2+w.random.IntN(5)] {
		c := change{key: fmt.Sprintf("%skey-%02d", w.prefix(), i), value: w.value()}
		request.changes = append(request.changes, c)
		ops = append(ops, putOp(c))
	}
	start := w.record.newest.Load()
	resp, err := w.kv.Txn(ctx, &pb.TxnRequest{Success: ops})
	return w.done(request, start, resp.GetHeader(), err)
}

// increment adds one to the counter that all writers share, if nobody does it in between.
func (w *writer) increment(ctx context.Context) error {
	start := w.record.newest.Load()
	got, err := w.kv.Range(ctx, &pb.RangeRequest{Key: []byte(counterKey)})
	if err != nil {
		return fmt.Errorf("get the counter: %w", err)
	}
	w.record.seen("get of the counter", start, got.Header.Revision)
	var count, modRevision int64
	if len(got.Kvs) > 0 {
		modRevision = got.Kvs[0].ModRevision
		if count, err = counterValue(string(got.Kvs[0].Value)); err != nil {
			return err
		}
	}
	w.serial++
	c := change{key: counterKey, value: fmt.Sprintf("%d by %d %d", count+1, w.id, w.serial)}
	start = w.record.newest.Load()
	resp, err := w.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{modRevisionIs(c.key, modRevision)},
		Success: []*pb.RequestOp{putOp(c)},
	})
	request := write{"increment", []change{c}}
	if err == nil && !resp.Succeeded {
		request.changes = nil
	}
	if err := w.done(request, start, resp.GetHeader(), err); err != nil {
		return err
	}
	delete(w.state, counterKey)
	return nil
}

// counterValue is the number in the counter's text.
func counterValue(text string) (int64, error) {
	number, _, _ := strings.Cut(text, " ")
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the counter is %q: %w", text, err)
	}
	return count, nil
}

// useLease grants a lease and puts keys under it, or revokes one of those it has.
func (w *writer) useLease(ctx context.Context) error {
	for id := range w.leases {
		if len(w.leases) >= 3 || w.random.IntN(2) == 0 {
			return w.revoke(ctx, id)
		}
		break
	}
	w.serial++
	id := int64(w.id+1)<<32 | w.serial
	w.unsure[id] = true
	if _, err := w.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: leaseTTLSeconds}); err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	delete(w.unsure, id)
	w.leases[id] = true
	for range 1 + w.random.IntN(3) {
		c := change{key: w.key(), value: w.value(), lease: id}
		start := w.record.newest.Load()
		resp, err := w.kv.Put(ctx, &pb.PutRequest{Key: []byte(c.key), Value: []byte(c.value), Lease: id})
		if err := w.done(write{"put with lease", []change{c}}, start, resp.GetHeader(), err); err != nil {
			return err
		}
	}
	return nil
}

// revoke ends a lease, and with it all keys under it in one revision.
func (w *writer) revoke(ctx context.Context, id int64) error {
	request := write{what: "revoke"}
	for _, key := range w.state.keys() {
		if w.state[key].Lease == id {
			request.changes = append(request.changes, change{key: key, delete: true})
		}
	}
	delete(w.leases, id)
	w.unsure[id] = true
	start := w.record.newest.Load()
	resp, err := w.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
	if err != nil {
		w.record.doubt(request)
		return fmt.Errorf("revoke a lease: %w", err)
	}
	delete(w.unsure, id)
	w.record.seen("revocation of a lease", start, resp.Header.Revision)
	w.record.ackSomewhere(request)
	w.state.apply(resp.Header.Revision, request.changes)
	return nil
}

// read compares one of the writer's keys with what it knows. On a single node a serializable read sees every acknowledged
// write, too.
func (w *writer) read(ctx context.Context) error {
	key := w.key()
	start := w.record.newest.Load()
	resp, err := w.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: w.random.IntN(2) == 0})
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	w.record.seen("get", start, resp.Header.Revision)
	var got *mvccpb.KeyValue
	if len(resp.Kvs) > 0 {
		got = resp.Kvs[0]
	}
	if want := w.state[key]; (want == nil) != (got == nil) || want != nil && !sameKeyValue(want, got) {
		w.record.fault("%s is %v at revision %d, want %v", key, got, resp.Header.Revision, want)
	}
	return nil
}

// leasesKnown are the leases that must be there and those that may be, in order.
func (w *writer) leasesKnown() (must, may []int64) {
	for id := range w.leases {
		must = append(must, id)
	}
	for id := range w.unsure {
		may = append(may, id)
	}
	slices.Sort(must)
	slices.Sort(may)
	return must, may
}

func modRevisionIs(key string, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: []byte(key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}
}

func putOp(c change) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(c.key), Value: []byte(c.value), Lease: c.lease}}}
}

func getOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}
