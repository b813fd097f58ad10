// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/test/harness"
)

// askWithin ends a request that hangs; no request comes near it.
const askWithin = 30 * time.Second

// ttlSlack is how far a lease's remaining time may be below the granted one, in
// seconds: more than a run takes. A restart may add up to an election timeout.
const ttlSlack = 2 * 3600

// target is a server under test and the connection to it.
type target struct {
	t      *testing.T
	name   string
	server *harness.Server

	conn      *grpc.ClientConn
	kv        pb.KVClient
	lease     pb.LeaseClient
	maint     pb.MaintenanceClient
	watch     pb.WatchClient
	keepAlive pb.Lease_LeaseKeepAliveClient

	// The ids of the first response header; all others must repeat them.
	clusterID, memberID uint64
}

func newTarget(t *testing.T, name string, server *harness.Server) *target {
	tg := &target{t: t, name: name, server: server}
	tg.connect()
	return tg
}

func (tg *target) connect() {
	tg.t.Helper()
	tg.conn = tg.server.Conn(tg.t)
	tg.kv = pb.NewKVClient(tg.conn)
	tg.lease = pb.NewLeaseClient(tg.conn)
	tg.maint = pb.NewMaintenanceClient(tg.conn)
	tg.watch = pb.NewWatchClient(tg.conn)
	var err error
	if tg.keepAlive, err = tg.lease.LeaseKeepAlive(tg.t.Context()); err != nil {
		tg.t.Fatalf("%s: open the keep-alive stream: %v", tg.name, err)
	}
}

// restart kills the server and connects to it again.
func (tg *target) restart() {
	tg.t.Helper()
	tg.server.Kill()
	if err := tg.conn.Close(); err != nil {
		tg.t.Fatalf("%s: close the connection: %v", tg.name, err)
	}
	tg.server.Restart()
	tg.connect()
}

// ask sends a request and returns the answer without what cannot be compared.
func (tg *target) ask(req operation) answer {
	ctx, cancel := context.WithTimeout(tg.t.Context(), askWithin)
	defer cancel()
	a := tg.send(ctx, req)
	if a.err != nil {
		return a
	}
	if err := tg.normalize(a.msg); err != nil {
		return answer{err: err}
	}
	return a
}

func (tg *target) send(ctx context.Context, req operation) answer {
	switch r := req.(type) {
	case *pb.PutRequest:
		return answerOf(tg.kv.Put(ctx, r))
	case *pb.DeleteRangeRequest:
		return answerOf(tg.kv.DeleteRange(ctx, r))
	case *pb.RangeRequest:
		return answerOf(tg.kv.Range(ctx, r))
	case rangeStream:
		return answerOf(tg.rangeStream(ctx, r.RangeRequest))
	case *pb.TxnRequest:
		return answerOf(tg.kv.Txn(ctx, r))
	case *pb.CompactionRequest:
		return answerOf(tg.kv.Compact(ctx, r))
	case *pb.LeaseGrantRequest:
		return answerOf(tg.lease.LeaseGrant(ctx, r))
	case *pb.LeaseRevokeRequest:
		return answerOf(tg.lease.LeaseRevoke(ctx, r))
	case *pb.LeaseTimeToLiveRequest:
		return answerOf(tg.lease.LeaseTimeToLive(ctx, r))
	case *pb.LeaseKeepAliveRequest:
		if err := tg.keepAlive.Send(r); err != nil {
			return answer{err: err}
		}
		return answerOf(tg.keepAlive.Recv())
	case *pb.LeaseLeasesRequest:
		return answerOf(tg.lease.LeaseLeases(ctx, r))
	case *pb.HashKVRequest:
		return answerOf(tg.maint.HashKV(ctx, r))
	}
	return answer{err: fmt.Errorf("no server takes a %T", req)}
}

// rangeStream puts the chunks together. How many there are is the server's
// business, but only the last one has a header, a count and more.
func (tg *target) rangeStream(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	stream, err := tg.kv.RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	whole := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return nil, err
		}
		if whole.Header != nil {
			return nil, errors.New("a chunk follows the one with the header")
		}
		part := chunk.RangeResponse
		if part.GetHeader() == nil && (part.GetMore() || part.GetCount() != 0) {
			return nil, errors.New("more or count in a chunk without a header")
		}
		whole.Kvs = append(whole.Kvs, part.GetKvs()...)
		whole.Header, whole.More, whole.Count = part.GetHeader(), part.GetMore(), part.GetCount()
	}
}

// normalize takes out of a response what differs between clusters, and fails
// on what no cluster may say.
func (tg *target) normalize(msg proto.Message) error {
	if m, ok := msg.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		if err := tg.stripHeader(m.GetHeader()); err != nil {
			return err
		}
	}
	switch m := msg.(type) {
	case *pb.LeaseTimeToLiveResponse:
		if m.GrantedTTL > 0 {
			if m.TTL < m.GrantedTTL-ttlSlack || m.TTL > m.GrantedTTL+2 {
				return fmt.Errorf("%d of %d granted seconds remain", m.TTL, m.GrantedTTL)
			}
			m.TTL = m.GrantedTTL
		}
		slices.SortFunc(m.Keys, bytes.Compare)
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	}
	return nil
}

func (tg *target) stripHeader(h *pb.ResponseHeader) error {
	if h == nil {
		return errors.New("the response has no header")
	}
	if tg.clusterID == 0 {
		tg.clusterID, tg.memberID = h.ClusterId, h.MemberId
	}
	if h.ClusterId == 0 || h.ClusterId != tg.clusterID || h.MemberId == 0 || h.MemberId != tg.memberID || h.RaftTerm == 0 {
		return fmt.Errorf("header %v after cluster id %x, member id %x", h, tg.clusterID, tg.memberID)
	}
	h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	return nil
}
