// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func opRange(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func opPut(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

func opTxn(success, failure []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
}

func ops(list ...*pb.RequestOp) []*pb.RequestOp { return list }

func repeat(n int, op func(i int) *pb.RequestOp) []*pb.RequestOp {
	list := make([]*pb.RequestOp, n)
	for i := range list {
		list[i] = op(i)
	}
	return list
}

func TestCheckRange(t *testing.T) {
	for name, tc := range map[string]struct {
		request      *pb.RangeRequest
		want, stream error
	}{
		"key":                      {request: &pb.RangeRequest{Key: []byte("a")}},
		"no key":                   {&pb.RangeRequest{}, rpctypes.ErrGRPCEmptyKey, rpctypes.ErrGRPCEmptyKey},
		"unknown order":            {&pb.RangeRequest{Key: []byte("a"), SortOrder: 3}, rpctypes.ErrGRPCInvalidSortOption, rpctypes.ErrGRPCInvalidSortOption},
		"unknown target":           {&pb.RangeRequest{Key: []byte("a"), SortTarget: -1}, rpctypes.ErrGRPCInvalidSortOption, rpctypes.ErrGRPCInvalidSortOption},
		"by key":                   {request: &pb.RangeRequest{Key: []byte("a"), SortOrder: pb.RangeRequest_ASCEND}},
		"by version without order": {request: &pb.RangeRequest{Key: []byte("a"), SortTarget: pb.RangeRequest_VERSION}},
		"backwards": {
			&pb.RangeRequest{Key: []byte("a"), SortOrder: pb.RangeRequest_DESCEND}, nil,
			status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders"),
		},
		"filtered": {
			&pb.RangeRequest{Key: []byte("a"), MaxCreateRevision: 3}, nil,
			status.Error(codes.Unimplemented, "RangeStream does not support revision filters"),
		},
	} {
		if err := checkRange(tc.request); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err := checkRangeStream(tc.request); !errors.Is(err, tc.stream) {
			t.Errorf("%s, streamed: %v, want %v", name, err, tc.stream)
		}
	}
}

func TestCheckWrites(t *testing.T) {
	for name, tc := range map[string]struct {
		request *pb.PutRequest
		want    error
	}{
		"put":             {&pb.PutRequest{Key: []byte("a"), Value: []byte("b"), Lease: 1}, nil},
		"no key":          {&pb.PutRequest{Value: []byte("b")}, rpctypes.ErrGRPCEmptyKey},
		"ignored value":   {&pb.PutRequest{Key: []byte("a"), IgnoreValue: true}, nil},
		"value and not":   {&pb.PutRequest{Key: []byte("a"), Value: []byte("b"), IgnoreValue: true}, rpctypes.ErrGRPCValueProvided},
		"lease and not":   {&pb.PutRequest{Key: []byte("a"), Lease: 1, IgnoreLease: true}, rpctypes.ErrGRPCLeaseProvided},
		"value but lease": {&pb.PutRequest{Key: []byte("a"), Value: []byte("b"), IgnoreLease: true}, nil},
	} {
		if err := checkPut(tc.request); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if err := checkDeleteRange(&pb.DeleteRangeRequest{RangeEnd: []byte("z")}); !errors.Is(err, rpctypes.ErrGRPCEmptyKey) {
		t.Errorf("delete without a key: %v", err)
	}
}

func TestCheckTxn(t *testing.T) {
	const maxOps = 4
	compare := func(key string) *pb.Compare { return &pb.Compare{Key: []byte(key)} }
	get := func(int) *pb.RequestOp { return opRange("a") }
	for name, tc := range map[string]struct {
		request *pb.TxnRequest
		want    error
	}{
		"empty":               {&pb.TxnRequest{}, nil},
		"full":                {&pb.TxnRequest{Success: repeat(4, get), Failure: repeat(4, get)}, nil},
		"too many successes":  {&pb.TxnRequest{Success: repeat(5, get)}, rpctypes.ErrGRPCTooManyOps},
		"too many failures":   {&pb.TxnRequest{Failure: repeat(5, get)}, rpctypes.ErrGRPCTooManyOps},
		"too many compares":   {&pb.TxnRequest{Compare: []*pb.Compare{compare("a"), compare("a"), compare("a"), compare("a"), compare("a")}}, rpctypes.ErrGRPCTooManyOps},
		"compare of no key":   {&pb.TxnRequest{Compare: []*pb.Compare{compare("")}}, rpctypes.ErrGRPCEmptyKey},
		"operation of no key": {&pb.TxnRequest{Failure: ops(opPut(""))}, rpctypes.ErrGRPCEmptyKey},
		"no operation":        {&pb.TxnRequest{Success: ops(&pb.RequestOp{})}, rpctypes.ErrGRPCKeyNotFound},
		"inner fits":          {&pb.TxnRequest{Success: ops(opTxn(repeat(3, get), nil))}, nil},
		"inner has less room": {&pb.TxnRequest{Success: ops(opTxn(repeat(4, get), nil))}, rpctypes.ErrGRPCTooManyOps},
		"room of the longest list": {
			&pb.TxnRequest{Success: ops(opTxn(repeat(2, get), nil)), Failure: repeat(3, get)}, rpctypes.ErrGRPCTooManyOps,
		},
		"inner fault": {&pb.TxnRequest{Success: ops(opTxn(nil, ops(opRange(""))))}, rpctypes.ErrGRPCEmptyKey},
	} {
		if err := checkTxn(tc.request, maxOps); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestCheckDuplicates(t *testing.T) {
	for name, tc := range map[string]struct {
		branch []*pb.RequestOp
		ok     bool
	}{
		"one put":                            {ops(opPut("a"), opRange("a")), true},
		"two keys":                           {ops(opPut("a"), opPut("b")), true},
		"one key twice":                      {ops(opPut("a"), opPut("a")), false},
		"put and delete":                     {ops(opPut("a"), opDelete("a", "")), false},
		"delete and put":                     {ops(opDelete("a", ""), opPut("a")), false},
		"put in a deleted range":             {ops(opPut("b"), opDelete("a", "c")), false},
		"put at the end of a deleted range":  {ops(opPut("c"), opDelete("a", "c")), true},
		"put above a range to the end":       {ops(opPut("b"), opDelete("a", "\x00")), true}, // etcd lets it pass
		"deletes overlap":                    {ops(opDelete("a", "c"), opDelete("b", "d"), opDelete("b", "")), true},
		"inner put, same key":                {ops(opPut("a"), opTxn(ops(opPut("a")), nil)), false},
		"both inner branches":                {ops(opTxn(ops(opPut("a")), ops(opPut("a")))), true},
		"both inner branches and outer":      {ops(opTxn(ops(opPut("a")), ops(opPut("a"))), opPut("a")), false},
		"two inner ones":                     {ops(opTxn(ops(opPut("a")), nil), opTxn(nil, ops(opPut("a")))), false},
		"twice in one inner branch":          {ops(opTxn(nil, ops(opPut("a"), opPut("a")))), false},
		"inner delete, outer put":            {ops(opPut("b"), opTxn(nil, ops(opDelete("a", "c")))), false},
		"outer delete, inner put":            {ops(opDelete("a", "c"), opTxn(nil, ops(opPut("b")))), false},
		"inner delete, later inner put":      {ops(opTxn(ops(opDelete("a", "")), nil), opTxn(ops(opPut("a")), nil)), false},
		"inner put, later inner delete":      {ops(opTxn(ops(opPut("a")), nil), opTxn(ops(opDelete("a", "")), nil)), true}, // as etcd
		"delete and put in inner branches":   {ops(opTxn(ops(opDelete("a", "")), ops(opPut("a")))), true},
		"three levels":                       {ops(opPut("a"), opTxn(ops(opTxn(nil, ops(opPut("a")))), nil)), false},
		"three levels without a common key":  {ops(opPut("a"), opTxn(ops(opTxn(nil, ops(opPut("b")))), nil)), true},
		"empty operation beside a write":     {ops(&pb.RequestOp{}, opPut("a")), true},
		"empty inner transaction and a read": {ops(opTxn(nil, nil), opRange("a")), true},
	} {
		for _, r := range []*pb.TxnRequest{{Success: tc.branch}, {Failure: tc.branch}} {
			err := checkDuplicates(r)
			if ok := err == nil; ok != tc.ok {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && !errors.Is(err, rpctypes.ErrGRPCDuplicateKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestReadOnlyAndSerializable(t *testing.T) {
	local := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a"), Serializable: true}}}
	for name, tc := range map[string]struct {
		request                *pb.TxnRequest
		readOnly, serializable bool
	}{
		"empty":            {&pb.TxnRequest{}, true, true},
		"local reads":      {&pb.TxnRequest{Success: ops(local), Failure: ops(local)}, true, true},
		"one linearizable": {&pb.TxnRequest{Success: ops(local), Failure: ops(opRange("a"))}, true, false},
		"put":              {&pb.TxnRequest{Failure: ops(opPut("a"))}, false, false},
		"delete":           {&pb.TxnRequest{Success: ops(opDelete("a", ""))}, false, false},
		"inner reads":      {&pb.TxnRequest{Success: ops(opTxn(ops(local), nil))}, false, false},
	} {
		if got := readOnly(tc.request); got != tc.readOnly {
			t.Errorf("%s: read-only %v", name, got)
		}
		if got := serializable(tc.request); got != tc.serializable {
			t.Errorf("%s: serializable %v", name, got)
		}
	}
}
