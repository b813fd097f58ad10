// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// kvService is etcd's KV service.
type kvService struct {
	*core
	quota    *quota
	inFlight *inFlight
	rows     reader // readRows; made once, since every request would allocate it
}

func newKVService(c *core, q *quota) *kvService {
	s := &kvService{core: c, quota: q, inFlight: newInFlight(c)}
	s.rows = s.readRows
	return s
}

var _ codec.KVServer = (*kvService)(nil)

// Range reads a key or a range of keys.
func (s *kvService) Range(ctx context.Context, r *codec.Range) (*wire.RangeResponse, error) {
	if err := checkRange(&r.Msg); err != nil {
		return nil, err
	}
	ctx, end := s.span(ctx, "range", func() []attribute.KeyValue {
		return append(rangeAttributes(&r.Msg), attribute.Bool("keys_only", r.Msg.KeysOnly))
	})
	defer end()
	start := s.opts.Clock.Now()
	resp, err := s.permittedRange(ctx, &r.Msg)
	took := s.since(start)
	s.metrics.rangeRequest.observe(took, err)
	if took > s.opts.WarningApplyDuration {
		s.warnSlowRange(took, &r.Msg, resp, err)
	}
	if err != nil {
		return nil, grpcError(err)
	}
	resp.Header = s.header(resp.Header.Revision)
	return resp, nil
}

// permittedRange is readRange for a client.
func (s *kvService) permittedRange(ctx context.Context, r *pb.RangeRequest) (resp *wire.RangeResponse, err error) {
	// Who may read is asked after this, when users and roles are as recent as the rows.
	if !r.Serializable {
		if err := s.linearize(ctx); err != nil {
			return nil, err
		}
	}
	if epoch, disabled := s.auth.Disabled(); disabled {
		resp, err = s.localRange(ctx, r, s.rows)
		if s.auth.StillDisabled(epoch) {
			return resp, err
		}
		drop(resp)
	}
	err = s.auth.Read(ctx, s.mayRange(r), func() (err error) {
		resp, err = s.localRange(ctx, r, s.rows)
		return err
	})
	if err != nil {
		drop(resp)
	}
	return resp, err
}

// drop lets go of an answer that will not be sent: users changed while it was read.
func drop(resp *wire.RangeResponse) {
	if resp != nil && resp.Sent != nil {
		resp.Sent()
	}
}

// mayRange says whether a user may read a range.
func (s *kvService) mayRange(r *pb.RangeRequest) func(*auth.AuthInfo) error {
	return func(info *auth.AuthInfo) error { return s.auth.Users().IsRangePermitted(info, r.Key, r.RangeEnd) }
}

// readRange reads, by read, what everything that was committed before is part of
// unless the client asked for less.
func (c *core) readRange(ctx context.Context, r *pb.RangeRequest, read reader) (*wire.RangeResponse, error) {
	if !r.Serializable {
		if err := c.linearize(ctx); err != nil {
			return nil, err
		}
	}
	return c.localRange(ctx, r, read)
}

// localRange reads, by read, what this member has.
func (c *core) localRange(ctx context.Context, r *pb.RangeRequest, read reader) (*wire.RangeResponse, error) {
	start := c.opts.Clock.Now()
	resp, err := read(ctx, r)
	c.metrics.rangeRead.observe(c.since(start), err)
	return resp, err
}

// reader reads the store as it is.
type reader func(context.Context, *pb.RangeRequest) (*wire.RangeResponse, error)

// readRows is a reader within the bound of what may be on its way to clients.
func (s *kvService) readRows(ctx context.Context, r *pb.RangeRequest) (*wire.RangeResponse, error) {
	if len(r.RangeEnd) == 0 || r.CountOnly {
		return s.store.Range(ctx, r)
	}
	answer := s.inFlight.answerTo(ctx)
	if answer == nil {
		return s.store.Range(ctx, r)
	}
	resp, err := s.store.RangeAdmitted(ctx, r, answer.admit)
	answer.sent(resp, err)
	return resp, err
}

// RangeStream sends the range in chunks of about the largest request's size.
// Only the last one has a header, the count of the whole range and whether
// there is more.
func (s *kvService) RangeStream(r *codec.Range, stream grpc.ServerStream) error {
	if err := checkRangeStream(&r.Msg); err != nil {
		return err
	}
	ctx, end := s.span(stream.Context(), "range_streaming", func() []attribute.KeyValue { return rangeAttributes(&r.Msg) })
	defer end()
	if !r.Msg.Serializable {
		if err := s.linearize(ctx); err != nil {
			return grpcError(err)
		}
	}
	send := func(chunk *wire.RangeResponse, unchanged func() error) error {
		if err := unchanged(); err != nil {
			return err
		}
		message := &wire.RangeStreamResponse{Range: *chunk}
		// The store gives a revision, which is never 0, to the last chunk only.
		if chunk.Header.Revision != 0 {
			message.HasHeader = true
			message.Range.Header = s.header(chunk.Header.Revision)
		}
		return stream.SendMsg(message)
	}
	return grpcError(s.auth.ReadInParts(ctx, s.mayRange(&r.Msg), func(unchanged func() error) error {
		return s.store.RangeStream(ctx, &r.Msg, s.opts.MaxRequestBytes, func(chunk *wire.RangeResponse) error {
			return send(chunk, unchanged)
		})
	}))
}

// Put writes one key.
func (s *kvService) Put(ctx context.Context, r *codec.Put) (*wire.PutResponse, error) {
	if err := checkPut(&r.Msg); err != nil {
		return nil, err
	}
	if err := s.quota.check(ctx, putCost(&r.Msg)); err != nil {
		return nil, grpcError(err)
	}
	ctx, end := s.span(ctx, "put", func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("key", string(r.Msg.Key))}
	})
	defer end()
	outcome, err := s.propose(ctx, wire.KindPut, r)
	if err != nil {
		return nil, grpcError(err)
	}
	resp := outcome.Response.(*wire.PutResponse)
	resp.Header = s.header(resp.Header.Revision)
	return resp, nil
}

// DeleteRange removes a key or a range of keys.
func (s *kvService) DeleteRange(ctx context.Context, r *codec.DeleteRange) (*wire.DeleteRangeResponse, error) {
	if err := checkDeleteRange(&r.Msg); err != nil {
		return nil, err
	}
	ctx, end := s.span(ctx, "delete_range", func() []attribute.KeyValue { return deleteAttributes(&r.Msg) })
	defer end()
	outcome, err := s.propose(ctx, wire.KindDeleteRange, r)
	if err != nil {
		return nil, grpcError(err)
	}
	resp := outcome.Response.(*wire.DeleteRangeResponse)
	resp.Header = s.header(resp.Header.Revision)
	return resp, nil
}

// Txn compares and then reads or writes, all at one revision. What only reads
// does not go through the log.
func (s *kvService) Txn(ctx context.Context, r *codec.Txn) (*wire.TxnResponse, error) {
	if err := checkTxn(&r.Msg, s.opts.MaxTxnOps); err != nil {
		return nil, err
	}
	if err := checkDuplicates(&r.Msg); err != nil {
		return nil, err
	}
	ctx, end := s.span(ctx, "txn", func() []attribute.KeyValue { return txnAttributes(&r.Msg) })
	defer end()
	if readOnly(&r.Msg) {
		return s.readTxn(ctx, &r.Msg)
	}
	outcome, err := s.proposeTxn(ctx, r)
	if err != nil {
		return nil, grpcError(err)
	}
	resp := outcome.Response.(*wire.TxnResponse)
	resp.Header = s.header(resp.Header.Revision)
	return resp, nil
}

func (s *kvService) proposeTxn(ctx context.Context, r *codec.Txn) (sqlstore.Outcome, error) {
	err := s.quota.check(ctx, txnCost(&r.Msg))
	if err == nil {
		var outcome sqlstore.Outcome
		outcome, err = s.propose(ctx, wire.KindTxn, r)
		if !errors.Is(err, sqlstore.ErrNoSpace) {
			return outcome, err
		}
	}
	if errors.Is(err, sqlstore.ErrNoSpace) && s.quota.passes(&r.Msg) {
		return s.quota.proposeVital(ctx, r)
	}
	return sqlstore.Outcome{}, err
}

func (s *kvService) readTxn(ctx context.Context, r *pb.TxnRequest) (*wire.TxnResponse, error) {
	start := s.opts.Clock.Now()
	resp, err := func() (*wire.TxnResponse, error) {
		if !serializable(r) {
			if err := s.linearize(ctx); err != nil {
				return nil, err
			}
		}
		var resp *wire.TxnResponse
		err := s.auth.Read(ctx, func(info *auth.AuthInfo) error { return s.auth.PermitTxn(info, r) }, func() (err error) {
			resp, err = s.store.ReadTxn(ctx, r)
			return err
		})
		return resp, err
	}()
	took := s.since(start)
	s.metrics.readTxnRequest.observe(took, err)
	if took > s.opts.WarningApplyDuration {
		s.warnSlowReadTxn(took, r, resp, err)
	}
	if err != nil {
		return nil, grpcError(err)
	}
	resp.Header = s.header(resp.Header.Revision)
	return resp, nil
}

// Compact makes old revisions unreadable. A physical one is answered when
// their rows are gone from the database.
func (s *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	ctx, end := s.span(ctx, "compact", func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.Bool("is_physical", r.Physical), attribute.Int64("rev", r.Revision)}
	})
	defer end()
	outcome, err := s.proposeMessage(ctx, wire.KindCompaction, r)
	if err != nil {
		return nil, grpcError(err)
	}
	if r.Physical {
		select {
		case <-outcome.Response.(*sqlstore.CompactionResult).Done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.stop.Done():
			return nil, grpcError(sqlstore.ErrClosed)
		}
	}
	return &pb.CompactionResponse{Header: s.pbHeader(s.store.Revision())}, nil
}
