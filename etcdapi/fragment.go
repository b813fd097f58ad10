// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"google.golang.org/protobuf/encoding/protowire"

	"keelson.io/keelson/sqlstore/wire"
)

// sendFragments sends a watch response in parts of less than limit bytes each,
// a part of a single event excepted. All but the last say Fragment. send must
// not keep the response.
func sendFragments(r *wire.WatchResponse, limit int, send func(*wire.WatchResponse) error) error {
	if len(r.Events) < 2 || r.Size() < limit {
		return send(r)
	}
	part := *r
	part.Events, part.Fragment = nil, true
	frame := part.Size()
	for rest := r.Events; ; {
		n := fitting(rest, limit-frame)
		part.Events, rest = rest[:n], rest[n:]
		part.Fragment = len(rest) > 0
		if err := send(&part); err != nil || !part.Fragment {
			return err
		}
	}
}

// fitting returns how many events, at least one, take less than room bytes.
func fitting(events [][]byte, room int) int {
	const tagBytes = 1 // of WatchResponse.events, field 11
	size := 0
	for n, e := range events {
		if size += tagBytes + protowire.SizeBytes(len(e)); n > 0 && size >= room {
			return n
		}
	}
	return len(events)
}
