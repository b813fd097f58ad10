// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// observeApplied counts a batch of entries that took a time together. What a
// single one took is not known: they share it evenly.
func (m *serverMetrics) observeApplied(entries []raftlog.Entry, outcomes []sqlstore.Outcome, took time.Duration) {
	share := took / time.Duration(len(entries))
	for i, e := range entries {
		applied, ok := m.applies[entryKind(e.Data)]
		if !ok {
			applied = m.otherApply
		}
		applied.observe(share, outcomes[i].Err)
	}
}

// entryKind is the kind of request in an entry, 0 if it has none that is known.
func entryKind(data []byte) wire.Kind {
	for len(data) > 0 {
		field, _, length := protowire.ConsumeTag(data)
		if length < 0 {
			return 0
		}
		if _, known := proposedKinds[wire.Kind(field)]; known {
			return wire.Kind(field)
		}
		_, _, length = protowire.ConsumeField(data)
		if length < 0 {
			return 0
		}
		data = data[length:]
	}
	return 0
}
