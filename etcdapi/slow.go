// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/sqlstore/wire"
)

// Log lines about slow requests, in the words that etcd's operators grep for.
// Values of keys never appear in them.

// requestStats logs a request that took longer than
// Options.WarningUnaryRequestDuration.
func (c *core) requestStats(ctx context.Context, method string, took time.Duration, req, resp any) {
	remote := "No remote client info."
	if p, ok := peer.FromContext(ctx); ok {
		remote = p.Addr.String()
	}
	d := describe(req, resp)
	c.opts.Logger.Warn("request stats",
		zap.Time("start time", c.opts.Clock.Now().Add(-took)),
		zap.Duration("time spent", took),
		zap.String("remote", remote),
		zap.String("response type", method),
		zap.Int64("request count", d.requestCount),
		zap.Int("request size", d.requestBytes),
		zap.Int64("response count", d.responseCount),
		zap.Int("response size", d.responseBytes),
		zap.String("request content", d.content),
	)
}

type description struct {
	requestCount, responseCount int64
	requestBytes, responseBytes int
	content                     string
}

// describe tells what a KV request and its response are about; for the others
// all numbers are -1, as in etcd.
func describe(req, resp any) description {
	d := description{requestCount: -1, responseCount: -1, requestBytes: -1, responseBytes: -1}
	switch r := req.(type) {
	case *codec.Range:
		d = description{requestBytes: len(r.Raw), content: r.Msg.String()}
	case *codec.Put:
		d = description{requestCount: 1, requestBytes: len(r.Raw), content: pb.NewLoggablePutRequest(&r.Msg).String()}
	case *codec.DeleteRange:
		d = description{requestBytes: len(r.Raw), content: r.Msg.String()}
	case *codec.Txn:
		d = description{
			requestCount: int64(max(len(r.Msg.Success), len(r.Msg.Failure))),
			requestBytes: len(r.Raw),
			content:      pb.NewLoggableTxnRequest(&r.Msg).String(),
		}
	}
	switch r := resp.(type) {
	case *wire.RangeResponse:
		if r != nil {
			d.responseCount, d.responseBytes = r.Count, r.Size()
		}
	case *wire.DeleteRangeResponse:
		if r != nil {
			d.responseCount, d.responseBytes = r.Deleted, r.Size()
		}
	case *wire.PutResponse:
		if r != nil {
			d.responseBytes = r.Size()
		}
	case *wire.TxnResponse:
		if r != nil {
			d.responseBytes = r.Size()
		}
	}
	return d
}

func (c *core) warnSlowRange(took time.Duration, r *pb.RangeRequest, resp *wire.RangeResponse, err error) {
	answer := ""
	if resp != nil {
		answer = fmt.Sprintf("range_response_count:%d size:%d", len(resp.KVs), resp.Size())
	}
	c.warnSlow(took, slowRequest{prefix: "read-only range ", request: r, response: answer, err: err})
}

func (c *core) warnSlowReadTxn(took time.Duration, r *pb.TxnRequest, resp *wire.TxnResponse, err error) {
	answer := ""
	if resp != nil {
		counts := make([]string, 0, len(resp.Responses))
		for _, op := range resp.Responses {
			if op.Range != nil {
				counts = append(counts, fmt.Sprintf("range_response_count:%d", len(op.Range.KVs)))
			}
		}
		answer = fmt.Sprintf("responses:<%s> size:%d", strings.Join(counts, " "), resp.Size())
	}
	c.warnSlow(took, slowRequest{
		prefix: "read-only txn ", request: pb.NewLoggableTxnRequest(r), response: answer, err: err,
	})
}

type slowRequest struct {
	prefix   string
	request  fmt.Stringer
	response string
	err      error
}

func (c *core) warnSlow(took time.Duration, r slowRequest) {
	c.metrics.SlowApplies.Inc()
	c.opts.Logger.Warn("apply request took too long",
		zap.Duration("took", took),
		zap.Duration("expected-duration", c.opts.WarningApplyDuration),
		zap.String("prefix", r.prefix),
		zap.Stringer("request", r.request),
		zap.String("response", r.response),
		zap.Error(r.err),
	)
}
