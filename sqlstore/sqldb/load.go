// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
)

// Load reads the sequence numbers in ranges, each as one chunk, so many of them
// at once: SQLite's part of the work is most of it, and spreads over the cores.
const (
	loadRanges   = 256  // at most so many, since compaction may have left few rows in each
	loadRangeMin = 8192 // sequence numbers
	loadWorkers  = 2
)

// chunk is one range being read.
type chunk struct {
	from, to int64 // sequence numbers: from <= seq < to
	rows     []RowMeta
	err      error
	done     chan struct{}
}

// Load hands all committed rows, without their values, to fn, in order of Seq and
// in chunks that are fn's to keep. Call it before the first Write. Damage that it
// meets is an ErrCorrupt. fn's error ends the loading and is returned.
func (db *DB) Load(ctx context.Context, fn func(rows []RowMeta) error) error {
	var first, next int64
	err := db.readers.with(ctx, func(c *conn) (err error) {
		if next, err = nextSeq(c); err != nil {
			return err
		}
		first, err = c.int("SELECT coalesce(min(seq), 1) FROM history")
		return err
	})
	if err != nil {
		return checked(db.opts.Path, "load", err)
	}
	callers := ctx
	ctx, cancel := context.WithCancel(ctx)
	size := max((next-first)/loadRanges+1, loadRangeMin)
	todo := make(chan *chunk)
	ordered := make(chan *chunk, 2*loadWorkers) // bounds what is read ahead
	var workers sync.WaitGroup
	for range min(loadWorkers, db.opts.ReadConns) {
		workers.Go(func() { db.loadChunks(ctx, todo) })
	}
	go func() {
		defer close(ordered)
		defer close(todo)
		for from := first; from < next && ctx.Err() == nil; from += size {
			k := &chunk{from: from, to: min(from+size, next), done: make(chan struct{})}
			ordered <- k
			todo <- k
		}
	}()
	defer workers.Wait()
	defer cancel()
	for k := range ordered {
		<-k.done
		switch {
		case err != nil:
		case k.err != nil:
			err = checked(db.opts.Path, "load", k.err)
		case len(k.rows) > 0:
			err = fn(k.rows)
		}
		if err != nil {
			cancel() // what is under way is waited for
		}
	}
	if err == nil {
		err = callers.Err()
	}
	return err
}

// loadChunks reads chunks on one connection until there are no more.
func (db *DB) loadChunks(ctx context.Context, todo <-chan *chunk) {
	for k := range todo {
		k.err = db.readers.with(ctx, func(c *conn) error {
			return c.each(loadQuery, func(cols []driver.Value) error {
				m, err := metaOf(cols)
				k.rows = append(k.rows, m)
				return err
			}, k.from, k.to)
		})
		close(k.done)
	}
}

const loadQuery = "SELECT seq, revision, sub, key, create_revision, version, lease, length(value) FROM history WHERE seq >= ? AND seq < ? ORDER BY seq"

func metaOf(cols []driver.Value) (m RowMeta, err error) {
	var ok [7]bool
	var key []byte
	m.Seq, ok[0] = cols[0].(int64)
	m.Revision, ok[1] = cols[1].(int64)
	m.Sub, ok[2] = cols[2].(int64)
	key, ok[3] = cols[3].([]byte)
	m.CreateRevision, ok[4] = cols[4].(int64)
	m.Version, ok[5] = cols[5].(int64)
	m.Lease, ok[6] = cols[6].(int64)
	if ok != [...]bool{true, true, true, true, true, true, true} {
		return m, fmt.Errorf("%w: row %v has columns of the wrong type", ErrCorrupt, cols[0])
	}
	m.Key = stringOf(key)
	if cols[7] == nil {
		m.Tombstone = true
	} else if m.ValueSize, ok[0] = cols[7].(int64); !ok[0] {
		return m, fmt.Errorf("%w: row %d has no size", ErrCorrupt, m.Seq)
	}
	return m, nil
}

// LoadState returns everything but the rows.
func (db *DB) LoadState(ctx context.Context) (State, error) {
	state := State{Settings: map[string]Setting{}}
	err := db.readers.with(ctx, func(c *conn) error { return loadState(c, &state) })
	return state, checked(db.opts.Path, "load state", err)
}

// typed returns a column that the schema wants to be of a type. SQLite does not insist on that, so one of another
// is damage: it is noted in err.
func typed[T int64 | string | []byte](cols []driver.Value, i int, err *error) T {
	v, ok := cols[i].(T)
	if !ok && *err == nil {
		*err = fmt.Errorf("%w: row %v has columns of the wrong type", ErrCorrupt, cols)
	}
	return v
}

func loadState(c *conn, state *State) error {
	err := c.each("SELECT name, value FROM setting", func(cols []driver.Value) (err error) {
		s := Setting{Name: typed[string](cols, 0, &err)}
		switch v := cols[1].(type) {
		case int64:
			s.Int = v
		case string:
			s.Text = v
		case []byte:
			s.Blob = v
		}
		state.Settings[s.Name] = s
		return err
	})
	if err != nil {
		return err
	}
	state.AppliedIndex = uint64(state.Settings[SettingAppliedIndex].Int)
	state.AppliedTerm = uint64(state.Settings[SettingAppliedTerm].Int)
	state.Revision = state.Settings[SettingRevision].Int
	if state.NextSeq, err = nextSeq(c); err != nil {
		return err
	}
	err = c.each("SELECT id, ttl, remaining FROM lease ORDER BY id", func(cols []driver.Value) (err error) {
		state.Leases = append(state.Leases, Lease{typed[int64](cols, 0, &err), typed[int64](cols, 1, &err), typed[int64](cols, 2, &err)})
		return err
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT member, kind FROM alarm ORDER BY member, kind", func(cols []driver.Value) (err error) {
		id, kind := idOf(cols, &err), typed[string](cols, 1, &err)
		state.Alarms = append(state.Alarms, Alarm{MemberID: id, Kind: kind})
		return err
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT id, removed, json FROM member ORDER BY id", func(cols []driver.Value) (err error) {
		id, removed, json := idOf(cols, &err), typed[int64](cols, 1, &err), typed[string](cols, 2, &err)
		state.Members = append(state.Members, Member{ID: id, Removed: removed != 0, JSON: []byte(json)})
		return err
	})
	if err != nil {
		return err
	}
	return loadAuth(c, state)
}

// idOf returns the id of a member in the first column, as typed does.
func idOf(cols []driver.Value, err *error) uint64 {
	text := typed[string](cols, 0, err)
	id, parseErr := parseID(text)
	if parseErr != nil && *err == nil {
		*err = fmt.Errorf("%w: member: %w", ErrCorrupt, parseErr)
	}
	return id
}
