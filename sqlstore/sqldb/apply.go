// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"fmt"
	"strconv"
)

const (
	insertRow     = "INSERT INTO history (seq, revision, sub, key, create_revision, version, lease, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	upsertSetting = "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
	upsertLease   = "INSERT INTO lease (id, ttl, remaining) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET ttl = excluded.ttl, remaining = excluded.remaining"
	deleteLease   = "DELETE FROM lease WHERE id = ?"
	upsertMember  = "INSERT INTO member (id, removed, json) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET removed = excluded.removed, json = excluded.json"
	deleteMember  = "DELETE FROM member WHERE id = ?"
	upsertAlarm   = "INSERT INTO alarm (member, kind) VALUES (?, ?) ON CONFLICT DO NOTHING"
	deleteAlarm   = "DELETE FROM alarm WHERE member = ? AND kind = ?"
)

// apply writes the batches within the open transaction.
func (db *DB) apply(batches []*queued) error {
	insert, err := db.w.prepare(insertRow)
	if err != nil {
		return err
	}
	counters := map[string]int64{}
	for _, q := range batches {
		b := q.batch
		for i := range b.Rows {
			if err := putRow(insert, &b.Rows[i]); err != nil {
				return fmt.Errorf("row %d: %w", b.Rows[i].Seq, err)
			}
			counters[SettingNextSeq] = b.Rows[i].Seq + 1
		}
		if err := db.applyChanges(b); err != nil {
			return err
		}
		if b.AppliedIndex > 0 {
			counters[SettingAppliedIndex] = int64(b.AppliedIndex)
			counters[SettingAppliedTerm] = int64(b.AppliedTerm)
		}
		if b.Revision > 0 {
			counters[SettingRevision] = b.Revision
		}
	}
	for _, name := range []string{SettingNextSeq, SettingAppliedIndex, SettingAppliedTerm, SettingRevision} {
		if n, ok := counters[name]; ok {
			if err := db.w.exec(upsertSetting, name, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func putRow(insert *stmt, r *Row) error {
	var value any
	if !r.Tombstone {
		value = notNil(r.Value)
	}
	return insert.run(r.Seq, r.Revision, r.Sub, notNil(r.Key), r.CreateRevision, r.Version, r.Lease, value)
}

// notNil keeps an empty blob from being bound as NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// applyChanges writes everything of a batch but its rows and counters.
func (db *DB) applyChanges(b *Batch) error {
	var errs []error
	run := func(op Op, put string, putArgs []any, del string, delArgs []any) {
		if op == Put {
			errs = append(errs, db.w.exec(put, putArgs...))
		} else {
			errs = append(errs, db.w.exec(del, delArgs...))
		}
	}
	for _, c := range b.Leases {
		l := c.Lease
		run(c.Op, upsertLease, []any{l.ID, l.TTL, l.Remaining}, deleteLease, []any{l.ID})
	}
	for _, c := range b.Alarms {
		args := []any{formatID(c.Alarm.MemberID), c.Alarm.Kind}
		run(c.Op, upsertAlarm, args, deleteAlarm, args)
	}
	for _, c := range b.Members {
		id, removed := formatID(c.Member.ID), int64(0)
		if c.Member.Removed {
			removed = 1
		}
		run(c.Op, upsertMember, []any{id, removed, string(c.Member.JSON)}, deleteMember, []any{id})
	}
	errs = append(errs, db.applyAuth(b))
	for _, s := range b.Settings {
		errs = append(errs, db.w.exec(upsertSetting, s.Name, s.value()))
	}
	return errors.Join(errs...)
}

// value returns what SQLite stores.
func (s Setting) value() any {
	switch {
	case s.Text != "":
		return s.Text
	case len(s.Blob) > 0:
		return s.Blob
	default:
		return s.Int
	}
}

// formatID writes a member's id as etcd's tools do.
func formatID(id uint64) string { return fmt.Sprintf("%016x", id) }

func parseID(s string) (uint64, error) { return strconv.ParseUint(s, 16, 64) }
