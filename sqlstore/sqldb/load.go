// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// loadChunk is about how many rows Load hands over at a time.
const loadChunk = 8192

// Load hands all committed rows, without their values, to fn, in order of Seq and
// in chunks that are fn's to keep. Call it before the first Write. Damage that it
// meets is an ErrCorrupt. fn's error ends the loading and is returned.
func (db *DB) Load(ctx context.Context, fn func(rows []RowMeta) error) error {
	return db.readers.with(ctx, func(c *conn) error {
		chunk := make([]RowMeta, 0, loadChunk)
		err := c.each(loadQuery, func(cols []driver.Value) error {
			m, err := metaOf(cols)
			if err != nil {
				return err
			}
			chunk = append(chunk, m)
			if len(chunk) < loadChunk {
				return nil
			}
			err = fn(chunk)
			chunk = make([]RowMeta, 0, loadChunk)
			return err
		}, int64(0), int64(1<<62))
		if err == nil && len(chunk) > 0 {
			err = fn(chunk)
		}
		return checked(db.opts.Path, "load", err)
	})
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

func loadState(c *conn, state *State) error {
	err := c.each("SELECT name, value FROM setting", func(cols []driver.Value) error {
		s := Setting{Name: cols[0].(string)}
		switch v := cols[1].(type) {
		case int64:
			s.Int = v
		case string:
			s.Text = v
		case []byte:
			s.Blob = v
		}
		state.Settings[s.Name] = s
		return nil
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
	err = c.each("SELECT id, ttl, remaining FROM lease ORDER BY id", func(cols []driver.Value) error {
		state.Leases = append(state.Leases, Lease{cols[0].(int64), cols[1].(int64), cols[2].(int64)})
		return nil
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT member, kind FROM alarm ORDER BY member, kind", func(cols []driver.Value) error {
		id, err := parseID(cols[0].(string))
		state.Alarms = append(state.Alarms, Alarm{MemberID: id, Kind: cols[1].(string)})
		return err
	})
	if err != nil {
		return err
	}
	return c.each("SELECT id, removed, json FROM member ORDER BY id", func(cols []driver.Value) error {
		id, err := parseID(cols[0].(string))
		if err != nil {
			return fmt.Errorf("member: %w", err)
		}
		state.Members = append(state.Members, Member{ID: id, Removed: cols[1].(int64) != 0, JSON: []byte(cols[2].(string))})
		return nil
	})
}
