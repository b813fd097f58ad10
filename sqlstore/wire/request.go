// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// UnmarshalPut decodes a PutRequest into m, whose former content is dropped. Key and value alias
// data.
func UnmarshalPut(data []byte, m *pb.PutRequest) error {
	m.Reset()
	return mergePut(data, m)
}

// UnmarshalRange decodes a RangeRequest into m, whose former content is dropped. Key and range end
// alias data.
func UnmarshalRange(data []byte, m *pb.RangeRequest) error {
	m.Reset()
	return mergeRange(data, m)
}

// UnmarshalDeleteRange decodes a DeleteRangeRequest into m, whose former content is dropped. Key
// and range end alias data.
func UnmarshalDeleteRange(data []byte, m *pb.DeleteRangeRequest) error {
	m.Reset()
	return mergeDeleteRange(data, m)
}

// The merge functions decode on top of what m holds: that is how protobuf treats a message field
// that occurs more than once.

func mergePut(data []byte, m *pb.PutRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			m.Key = c.bytes()
		case 2<<3 | lenType:
			m.Value = c.bytes()
		case 3<<3 | varintType:
			m.Lease = c.int64()
		case 4<<3 | varintType:
			m.PrevKv = c.bool()
		case 5<<3 | varintType:
			m.IgnoreValue = c.bool()
		case 6<<3 | varintType:
			m.IgnoreLease = c.bool()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeRange(data []byte, m *pb.RangeRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			m.Key = c.bytes()
		case 2<<3 | lenType:
			m.RangeEnd = c.bytes()
		case 3<<3 | varintType:
			m.Limit = c.int64()
		case 4<<3 | varintType:
			m.Revision = c.int64()
		case 5<<3 | varintType:
			m.SortOrder = pb.RangeRequest_SortOrder(c.varint())
		case 6<<3 | varintType:
			m.SortTarget = pb.RangeRequest_SortTarget(c.varint())
		case 7<<3 | varintType:
			m.Serializable = c.bool()
		case 8<<3 | varintType:
			m.KeysOnly = c.bool()
		case 9<<3 | varintType:
			m.CountOnly = c.bool()
		case 10<<3 | varintType:
			m.MinModRevision = c.int64()
		case 11<<3 | varintType:
			m.MaxModRevision = c.int64()
		case 12<<3 | varintType:
			m.MinCreateRevision = c.int64()
		case 13<<3 | varintType:
			m.MaxCreateRevision = c.int64()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeDeleteRange(data []byte, m *pb.DeleteRangeRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			m.Key = c.bytes()
		case 2<<3 | lenType:
			m.RangeEnd = c.bytes()
		case 3<<3 | varintType:
			m.PrevKv = c.bool()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeCompaction(data []byte, m *pb.CompactionRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.Revision = c.int64()
		case 2<<3 | varintType:
			m.Physical = c.bool()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeLeaseGrant(data []byte, m *pb.LeaseGrantRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.TTL = c.int64()
		case 2<<3 | varintType:
			m.ID = c.int64()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeLeaseRevoke(data []byte, m *pb.LeaseRevokeRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.ID = c.int64()
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeLeaseCheckpoints(data []byte, m *pb.LeaseCheckpointRequest) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | lenType:
			checkpoint := new(pb.LeaseCheckpoint)
			m.Checkpoints = append(m.Checkpoints, checkpoint)
			c.fail(mergeLeaseCheckpoint(c.view(), checkpoint))
		default:
			c.skip(tag)
		}
	}
	return c.err
}

func mergeLeaseCheckpoint(data []byte, m *pb.LeaseCheckpoint) error {
	c := cursor{buf: data}
	for tag := c.next(); tag != 0; tag = c.next() {
		switch tag {
		case 1<<3 | varintType:
			m.ID = c.int64()
		case 2<<3 | varintType:
			m.Remaining_TTL = c.int64()
		default:
			c.skip(tag)
		}
	}
	return c.err
}
