// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/idutil"
	"go.etcd.io/raft/v3/raftpb"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// Log orders entries; *raftlog.Log is one. Its methods must be as cheap as that one's.
type Log interface {
	// Propose returns the result of applying the entry, whose id the state
	// machine finds in it.
	Propose(ctx context.Context, id uint64, data []byte) (any, error)
	// ProposeInTerm is Propose for what this member may ask for only while it leads
	// in a term.
	ProposeInTerm(ctx context.Context, term, id uint64, data []byte) (any, error)
	// ProposeTogether proposes entries that stand one right after the other in the
	// log, and returns the outcome of each.
	ProposeTogether(ctx context.Context, all ...raftlog.Proposal) ([]raftlog.Outcome, error)
	// ReadIndex returns when a read of the local store is linearizable.
	ReadIndex(ctx context.Context) error
	// ProposeConfChange returns when a change of membership is applied.
	ProposeConfChange(ctx context.Context, change *raftpb.ConfChange) error
	// TransferLeadership returns when another member leads.
	TransferLeadership(ctx context.Context, to uint64) error
	Status() raftlog.Status
	// Progress is what the leader knows of each member; nil if this one does not lead.
	Progress() []raftlog.Progress
	Term() uint64
	// Leader returns the leading member's id, 0 if none is known.
	Leader() uint64
	// LeaderChanged returns a channel that is closed at the next change.
	LeaderChanged() <-chan struct{}
	// Done returns a channel that is closed when the log takes nothing any more.
	Done() <-chan struct{}
}

// core is what all services share.
type core struct {
	opts    *Options
	store   *sqlstore.Store
	log     Log
	ids     *idutil.Generator
	metrics *serverMetrics

	clusterID, memberID uint64
	storage             *atomic.Pointer[semver.Version] // see versions.GetStorageVersion
	peers               *peerClient
	elections           *elections
	tracer              trace.Tracer // nil: requests are not traced
	auth                *authority.Authority

	// stop ends when requests that can take forever are to give up.
	stop context.Context
}

// header is a response's header for a revision of the store.
func (c *core) header(revision int64) wire.Header {
	return wire.Header{
		ClusterID: c.clusterID,
		MemberID:  c.memberID,
		Revision:  revision,
		RaftTerm:  c.log.Term(),
	}
}

// pbHeader is header for messages that go through protobuf.
func (c *core) pbHeader(revision int64) *pb.ResponseHeader {
	h := c.header(revision)
	return &pb.ResponseHeader{
		ClusterId: h.ClusterID, MemberId: h.MemberID, Revision: h.Revision, RaftTerm: h.RaftTerm,
	}
}

// linearize returns when the local store has everything that was committed at
// the time of the call.
func (c *core) linearize(ctx context.Context) error {
	patient := &lateTimeout{Context: ctx, timeout: c.opts.requestTimeout()}
	defer patient.stop()
	err := c.log.ReadIndex(patient)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errTimeout
	}
	return err
}

// bounded gives ctx the request timeout, unless it ends sooner anyway.
func (c *core) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := c.opts.requestTimeout()
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(c.opts.Clock.Now()) <= timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// proposal is a request that becomes an entry.
type proposal interface {
	// Entry returns the entry that proposes the request under a header.
	Entry(h wire.EntryHeader) []byte
}

// propose puts a request into the log and returns what applying it gave: the
// store's response or its error.
func (c *core) propose(ctx context.Context, kind wire.Kind, r proposal) (sqlstore.Outcome, error) {
	return c.proposeTimed(ctx, 0, kind, r)
}

// proposeTimed is propose, in one term only unless that is 0.
func (c *core) proposeTimed(ctx context.Context, term uint64, kind wire.Kind, r proposal) (sqlstore.Outcome, error) {
	start := c.opts.Clock.Now()
	outcome, err := c.proposeOnce(ctx, term, kind, r)
	c.metrics.proposal(kind).observe(c.since(start), err)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	return *outcome, outcome.Err
}

// entryHeader is the header of an entry that is proposed for whoever ctx is of.
func (c *core) entryHeader(ctx context.Context, kind wire.Kind) (wire.EntryHeader, error) {
	h := wire.EntryHeader{ID: c.ids.Next()}
	if !c.auth.Enabled() || kind == wire.KindAuthenticate { // that has a password, and perhaps an old token
		return h, nil
	}
	info, err := c.auth.Info(ctx)
	if info != nil {
		h.Username, h.AuthRevision = info.Username, info.Revision
	}
	return h, err
}

func (c *core) proposeOnce(ctx context.Context, term uint64, kind wire.Kind, r proposal) (*sqlstore.Outcome, error) {
	header, err := c.entryHeader(ctx, kind)
	if err != nil {
		return nil, err
	}
	id, data := header.ID, r.Entry(header)
	if len(data) > c.opts.MaxRequestBytes {
		return nil, errRequestTooLarge
	}
	bounded, cancel := c.bounded(ctx)
	defer cancel()
	start := c.opts.Clock.Now()
	var value any
	c.spanEvent(ctx, "Send raft proposal")
	if term == 0 {
		value, err = c.log.Propose(bounded, id, data)
	} else {
		value, err = c.log.ProposeInTerm(bounded, term, id, data)
	}
	if err != nil {
		return nil, c.proposalError(err, start)
	}
	c.spanEvent(ctx, "Receive raft result")
	return value.(*sqlstore.Outcome), nil
}

// proposeMessage is propose for a request that is a message.
func (c *core) proposeMessage(ctx context.Context, kind wire.Kind, request proto.Message) (sqlstore.Outcome, error) {
	raw, err := proto.Marshal(request)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	return c.propose(ctx, kind, encoded{kind, raw})
}

// proposeInTerm is proposeMessage for what only the leader of a term may ask
// for. Errors: also raftlog.ErrNotLeader.
func (c *core) proposeInTerm(ctx context.Context, term uint64, kind wire.Kind, request proto.Message) (sqlstore.Outcome, error) {
	raw, err := proto.Marshal(request)
	if err != nil {
		return sqlstore.Outcome{}, err
	}
	return c.proposeTimed(ctx, term, kind, encoded{kind, raw})
}

// encoded is a proposal in the bytes of its message.
type encoded struct {
	kind wire.Kind
	raw  []byte
}

// Entry implements proposal.
func (e encoded) Entry(h wire.EntryHeader) []byte {
	return wire.AppendInternal(nil, h, e.kind, e.raw)
}

// since is the time that has passed on the server's clock.
func (c *core) since(start time.Time) time.Duration { return c.opts.Clock.Now().Sub(start) }
