// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/test/model"
)

// An operation is one of
//
//   - a request message of the KV, Lease or Maintenance service,
//   - one of the types below.
type operation any

// rangeStream is a RangeRequest for KV.RangeStream.
type rangeStream struct{ *pb.RangeRequest }

// watchCreate opens a watch on one of the open streams.
type watchCreate struct {
	stream int
	*pb.WatchCreateRequest
}

// watchCancel ends a watch, or asks to end one that is not there.
type watchCancel struct {
	stream int
	id     int64
}

// watchProgress asks a stream for its progress until it is told.
type watchProgress struct{ stream int }

// watchReopen closes a stream and opens another one in its place.
type watchReopen struct{ stream int }

// restart kills all servers and starts them again.
type restart struct{}

// answer is what a server, or the model, says to a request.
type answer struct {
	msg proto.Message
	err error
}

func answerOf[M proto.Message](msg M, err error) answer {
	if err != nil {
		return answer{err: err}
	}
	return answer{msg: msg}
}

func (a answer) equal(b answer) bool {
	if a.err != nil || b.err != nil {
		as, bs := status.Convert(a.err), status.Convert(b.err)
		return as.Code() == bs.Code() && as.Message() == bs.Message()
	}
	return proto.Equal(a.msg, b.msg)
}

func (a answer) String() string {
	if a.err != nil {
		s := status.Convert(a.err)
		return fmt.Sprintf("error %v %q", s.Code(), s.Message())
	}
	return describe(a.msg)
}

// ask gives the model's answer to a request.
func ask(s *model.Store, req operation) answer {
	switch r := req.(type) {
	case *pb.PutRequest:
		return answerOf(s.Put(r))
	case *pb.DeleteRangeRequest:
		return answerOf(s.DeleteRange(r))
	case *pb.RangeRequest:
		return answerOf(s.Range(r))
	case rangeStream:
		return answerOf(s.RangeStream(r.RangeRequest))
	case *pb.TxnRequest:
		return answerOf(s.Txn(r))
	case *pb.CompactionRequest:
		return answerOf(s.Compact(r))
	case *pb.LeaseGrantRequest:
		return answerOf(s.LeaseGrant(r))
	case *pb.LeaseRevokeRequest:
		return answerOf(s.LeaseRevoke(r))
	case *pb.LeaseTimeToLiveRequest:
		return answerOf(s.LeaseTimeToLive(r), nil)
	case *pb.LeaseKeepAliveRequest:
		return answerOf(s.LeaseKeepAlive(r), nil)
	case *pb.LeaseLeasesRequest:
		return answerOf(s.LeaseLeases(), nil)
	case *pb.HashKVRequest:
		return answerOf(s.HashKV(r))
	}
	panic(fmt.Sprintf("the model has no answer to a %T", req))
}

// maxDescription bounds what is printed of one message, in bytes.
const maxDescription = 4000

// describe prints an operation or a message on one line.
func describe(v any) string {
	var name, text string
	switch v := v.(type) {
	case watchCreate:
		name, text = fmt.Sprintf("WatchCreate on stream %d", v.stream), line(v.WatchCreateRequest)
	case rangeStream:
		name, text = "RangeStream", line(v.RangeRequest)
	case proto.Message:
		name, text = string(v.ProtoReflect().Descriptor().Name()), line(v)
	default:
		name, text = strings.TrimPrefix(fmt.Sprintf("%T", v), "model_test."), fmt.Sprintf("%+v", v)
	}
	if len(text) > maxDescription {
		text = fmt.Sprintf("%s... (%d bytes more)", text[:maxDescription], len(text)-maxDescription)
	}
	return name + "{" + text + "}"
}

func line(m proto.Message) string {
	return prototext.MarshalOptions{}.Format(m)
}

// tally counts requests by their name and the error that they got.
type tally map[string]map[string]int

func (t tally) add(req operation, err error) {
	name, _, _ := strings.Cut(describe(req), "{")
	outcome := "ok"
	if err != nil {
		outcome = status.Convert(err).Message()
	}
	if t[name] == nil {
		t[name] = map[string]int{}
	}
	t[name][outcome]++
}

func (t tally) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%s\n", name)
		for _, outcome := range slices.Sorted(maps.Keys(t[name])) {
			fmt.Fprintf(&b, "  %7d %s\n", t[name][outcome], outcome)
		}
	}
	return b.String()
}
