// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Waits between attempts while the disk refuses writes.
const (
	retryMin = 10 * time.Millisecond
	retryMax = time.Second
)

// write is the writer goroutine: it alone uses the writing connection.
func (db *DB) write() {
	defer close(db.done)
	for db.step() {
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	end := db.fatal
	if end == nil {
		end = ErrClosed
	}
	for _, w := range db.waiters {
		w.ch <- end
	}
	for _, r := range db.requests {
		r.done <- end
	}
	db.waiters, db.requests = nil, nil
	db.room.Broadcast()
}

// step does the most urgent piece of work, or waits for some. It returns false
// when the writer should end.
func (db *DB) step() bool {
	db.mu.Lock()
	switch {
	case db.closing || db.fatal != nil:
		db.mu.Unlock()
		return false
	case len(db.backlog) > 0:
		batches := db.takeLocked()
		db.mu.Unlock()
		db.commitAll(batches)
	case len(db.requests) > 0:
		r := db.requests[0]
		db.requests = db.requests[1:]
		db.mu.Unlock()
		r.done <- r.run()
	default:
		db.mu.Unlock()
		<-db.wakeup
	}
	return true
}

// takeLocked returns the batches of the next transaction. They stay in the
// backlog until they are committed.
func (db *DB) takeLocked() []*queued {
	rows, bytes := 0, int64(0)
	for i, q := range db.backlog {
		rows += len(q.batch.Rows)
		bytes += q.bytes
		if i > 0 && (rows > db.opts.TxRows || bytes > db.opts.TxBytes) {
			return db.backlog[:i:i]
		}
	}
	return db.backlog[:len(db.backlog):len(db.backlog)]
}

// commitAll commits the batches in one transaction and tells who waits.
func (db *DB) commitAll(batches []*queued) {
	start := db.opts.Clock.Now()
	if err := db.transact(func() error { return db.apply(batches) }); err != nil {
		db.mu.Lock()
		db.fatal = checked(db.opts.Path, "commit", err)
		db.mu.Unlock()
		return
	}
	lastSeq, applied, rows, bytes := int64(0), uint64(0), 0, int64(0)
	for _, q := range batches {
		bytes += q.bytes
		rows += len(q.batch.Rows)
		if n := len(q.batch.Rows); n > 0 {
			lastSeq = q.batch.Rows[n-1].Seq
		}
		if q.batch.AppliedIndex > 0 {
			applied = q.batch.AppliedIndex
		}
	}
	db.mu.Lock()
	clear(db.backlog[:len(batches)])
	db.backlog = db.backlog[len(batches):]
	db.backlogBytes -= bytes
	db.backlogRows -= rows
	db.committed += uint64(len(batches))
	db.stats.CommittedSeq = max(db.stats.CommittedSeq, lastSeq)
	db.stats.CommittedIndex = max(db.stats.CommittedIndex, applied)
	db.stats.Commits++
	db.stats.CommittedRows += int64(rows)
	db.stats.LastCommitSeconds = db.opts.Clock.Now().Sub(start).Seconds()
	lastSeq, applied = db.stats.CommittedSeq, db.stats.CommittedIndex
	kept := db.waiters[:0]
	for _, w := range db.waiters {
		if w.ticket <= db.committed {
			w.ch <- nil
		} else {
			kept = append(kept, w)
		}
	}
	db.waiters = kept
	db.room.Broadcast()
	db.mu.Unlock()
	db.opts.OnCommit(lastSeq, applied)
}

// transact runs fn in one transaction.
func (db *DB) transact(fn func() error) error {
	err := db.w.exec("BEGIN IMMEDIATE")
	if err != nil {
		return err
	}
	if err = fn(); err == nil {
		err = db.w.exec("COMMIT")
	}
	if err != nil {
		// SQLite may have rolled back by itself, and says so here.
		_ = db.w.exec("ROLLBACK")
	}
	return err
}

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
