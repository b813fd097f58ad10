// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore"
)

// sqliteStream is a watcher of a real store, on a stream of its own.
type sqliteStream struct {
	m      *sqliteMachine
	stream *sqlstore.WatchStream
	asked  bool // for progress, which stands behind all events that there are
}

func (m *sqliteMachine) watch(lo, hi string, from int64) (stream, error) {
	s := &sqliteStream{m: m, stream: m.store.NewWatchStream()}
	request := sqlstore.WatchRequest{Key: []byte(lo), StartRevision: from}
	if hi != "" {
		request.End = []byte(hi)
	}
	_, err := s.stream.Watch(m.node.world.context, request)
	return s, err
}

// answerTime is how long the store may take for an answer that it has: real time, which no result depends on.
const answerTime = 30 * time.Second

// next asks the store only for what it must have, because it would wait for anything else.
func (s *sqliteStream) next(due int64) ([]watchEvent, int64, error) {
	for {
		s.asked = s.asked || s.stream.ProgressAll()
		if !s.asked && (due == 0 || due > s.m.store.Revision()) {
			return nil, 0, nil
		}
		ctx, cancel := context.WithTimeout(s.m.node.world.context, answerTime)
		b, err := s.stream.Next(ctx)
		cancel()
		if err != nil {
			return nil, 0, fmt.Errorf("revision %d is due: %w", due, err)
		}
		switch b.Kind {
		case sqlstore.BatchEvents:
			events, err := decodeEvents(b.Events)
			return events, 0, err
		case sqlstore.BatchProgress:
			s.asked = false
			return nil, b.Revision, nil
		case sqlstore.BatchCompacted:
			return nil, 0, errCompacted
		case sqlstore.BatchCanceled:
			return nil, 0, fmt.Errorf("the store has canceled the watcher at revision %d", b.Revision)
		}
	}
}

func decodeEvents(encoded [][]byte) ([]watchEvent, error) {
	var events []watchEvent
	for _, data := range encoded {
		e := new(mvccpb.Event)
		if err := proto.Unmarshal(data, e); err != nil {
			return nil, fmt.Errorf("decode an event: %w", err)
		}
		events = append(events, watchEvent{
			Rev: e.Kv.ModRevision, Key: string(e.Kv.Key), Value: string(e.Kv.Value), Deleted: e.Type == mvccpb.Event_DELETE,
		})
	}
	return events, nil
}

func (s *sqliteStream) close() { s.stream.Close() }
