// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keelson.io/keelson/sqlstore/wire"
)

func TestFragmentsHoldAllEventsInOrderUnderTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 300), 0, 40).Draw(t, "sizes")
		limit := rapid.IntRange(1, 1000).Draw(t, "limit")
		whole := &wire.WatchResponse{
			Header: wire.Header{ClusterID: 1 << 60, MemberID: 1 << 61, Revision: 7, RaftTerm: 2}, WatchID: 3,
		}
		for i, size := range sizes {
			whole.Events = append(whole.Events, bytes.Repeat([]byte{byte(i)}, size))
		}
		var events [][]byte
		parts := 0
		finished := false
		err := sendFragments(whole, limit, func(part *wire.WatchResponse) error {
			if finished {
				t.Fatal("a part after the last")
			}
			if part.Header != whole.Header || part.WatchID != whole.WatchID {
				t.Fatalf("part %+v", part)
			}
			if len(part.Events) > 1 && part.Size() >= limit {
				t.Fatalf("a part of %d events has %d bytes, the limit is %d", len(part.Events), part.Size(), limit)
			}
			events = append(events, part.Events...)
			finished = !part.Fragment
			parts++
			return nil
		})
		if err != nil || !finished || !slices.EqualFunc(events, whole.Events, bytes.Equal) {
			t.Fatalf("%d parts with %d of %d events, finished %v, %v", parts, len(events), len(whole.Events), finished, err)
		}
		if whole.Size() < limit && parts != 1 {
			t.Fatalf("%d bytes in %d parts under a limit of %d", whole.Size(), parts, limit)
		}
	})
}

func TestFragmentsStopAtAnError(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	r := &wire.WatchResponse{Events: [][]byte{make([]byte, 100), make([]byte, 100), make([]byte, 100)}}
	err := sendFragments(r, 50, func(*wire.WatchResponse) error {
		calls++
		return broken
	})
	if !errors.Is(err, broken) || calls != 1 {
		t.Fatalf("%v after %d parts", err, calls)
	}
}
