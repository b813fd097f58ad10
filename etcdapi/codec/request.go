// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/wire"
)

// Range is a decoded RangeRequest with the bytes that it came as.
type Range struct {
	Raw []byte
	Msg pb.RangeRequest
}

// Put is a decoded PutRequest with the bytes that it came as.
type Put struct {
	Raw []byte
	Msg pb.PutRequest
}

// DeleteRange is a decoded DeleteRangeRequest with the bytes that it came as.
type DeleteRange struct {
	Raw []byte
	Msg pb.DeleteRangeRequest
}

// Txn is a decoded TxnRequest with the bytes that it came as.
type Txn struct {
	Raw []byte
	Msg pb.TxnRequest
}

// rawRequest is a request that keeps its bytes.
type rawRequest interface {
	// unmarshal takes over raw, the request's bytes.
	unmarshal(raw []byte) error
}

func (r *Range) unmarshal(raw []byte) error {
	r.Raw = raw
	return wire.UnmarshalRange(raw, &r.Msg)
}

func (r *Put) unmarshal(raw []byte) error {
	r.Raw = raw
	return wire.UnmarshalPut(raw, &r.Msg)
}

func (r *DeleteRange) unmarshal(raw []byte) error {
	r.Raw = raw
	return wire.UnmarshalDeleteRange(raw, &r.Msg)
}

func (r *Txn) unmarshal(raw []byte) error {
	r.Raw = raw
	return wire.UnmarshalTxn(raw, &r.Msg)
}
