// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"slices"
	"time"
)

// Slices of background work end after sliceTime, looked at once in so many rows
// or pages.
const (
	sliceTime         = 5 * time.Millisecond
	sliceRows         = 1000
	deletesPerLook    = 64
	vacuumPagesPerRun = "16"
)

// deletion is a call of Delete: rows by sequence number, of which the writer has
// deleted some.
type deletion struct {
	seqs []int64
	done chan error // capacity 1
}

// Delete removes rows that were enqueued before, and returns when that is
// committed. The writer does it in slices between transactions of rows. After a
// crash, or when ctx ends, some of the rows may be gone and others not. The DB
// keeps seqs and sorts them.
//
// A page is written once for all rows that are deleted from it before the next
// checkpoint, so one call for many neighbours costs the disk less than many calls.
func (db *DB) Delete(ctx context.Context, seqs []int64) error {
	if err := db.Flush(ctx); err != nil {
		return err
	}
	slices.Sort(seqs)
	d := &deletion{seqs: seqs, done: make(chan error, 1)}
	db.mu.Lock()
	if err := db.ended(); err != nil {
		db.mu.Unlock()
		return err
	}
	db.deletes = append(db.deletes, d)
	db.stats.PendingDeletes += int64(len(seqs))
	db.wake()
	db.mu.Unlock()
	return db.await(ctx, d.done)
}

const deleteRows = "DELETE FROM history WHERE seq BETWEEN ? AND ?"

// neighbours returns how many of the first numbers follow each other without a
// gap, at most limit.
func neighbours(seqs []int64, limit int) int {
	n := 1
	for n < len(seqs) && n < limit && seqs[n] <= seqs[n-1]+1 {
		n++
	}
	return n
}

func (db *DB) deletePending() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.deletes) > 0
}

// deleteSlice deletes some of the rows of the oldest deletion.
func (db *DB) deleteSlice() error {
	db.mu.Lock()
	d := db.deletes[0]
	db.mu.Unlock()
	n := 0
	start := db.opts.Clock.Now()
	err := db.transact(func() error {
		looked := 0
		for n = 0; n < len(d.seqs) && n < sliceRows; {
			if n >= looked+deletesPerLook {
				if looked = n; db.opts.Clock.Now().Sub(start) > sliceTime {
					break
				}
			}
			run := neighbours(d.seqs[n:], deletesPerLook)
			if err := db.w.exec(deleteRows, d.seqs[n], d.seqs[n+run-1]); err != nil {
				return err
			}
			n += run
		}
		return nil
	})
	if err != nil {
		return checked(db.opts.Path, "delete", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stats.PendingDeletes -= int64(n)
	db.stats.DeletedRows += int64(n)
	if d.seqs = d.seqs[n:]; len(d.seqs) == 0 {
		db.deletes = db.deletes[1:]
		d.done <- nil
	}
	return nil
}

// # When free pages are given back
//
// Compaction frees pages, and new rows use them before the file grows. Giving
// them back means moving pages from the end of the file, each a write or more,
// so it is done only when there are many: more than VacuumMinBytes and more than
// VacuumPercent of the file, down to half of that, and only in turns of the writer
// that no rows wait for. Vacuum asks for all of them, and then slices take their turn
// between transactions of rows as well.

// Vacuum asks for all free pages to be given back to the file system, in the
// background and in slices. It returns at once; Stats shows the progress, and the
// channel is closed when they are, or when the writer has ended.
func (db *DB) Vacuum() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.vacuumed != nil { // one is under way
		return db.vacuumed
	}
	done := make(chan struct{})
	if db.ended() != nil {
		close(done)
		return done
	}
	db.vacuumed = done
	db.stats.Vacuuming = true
	db.wake()
	return done
}

// endVacuum tells who asked for a vacuum that it is over. Holds mu.
func (db *DB) endVacuum() {
	if db.vacuumed != nil {
		close(db.vacuumed)
		db.vacuumed = nil
	}
}

// vacuumDue decides, by the policy above, whether a slice is to be done.
func (db *DB) vacuumDue() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	free := db.freePages * db.pageSize
	share := db.pages * int64(db.opts.VacuumPercent) / 100
	switch {
	case db.vacuumed != nil:
		db.stats.Vacuuming = true
		return true
	case len(db.backlog) > 0 || len(db.deletes) > 0:
		return false
	case free > db.opts.VacuumMinBytes && db.freePages > share:
		db.stats.Vacuuming = true
	case free <= db.opts.VacuumMinBytes/2 || db.freePages <= share/2:
		db.stats.Vacuuming = false
	}
	return db.stats.Vacuuming
}

// vacuumSlice gives some free pages back.
func (db *DB) vacuumSlice() error {
	start := db.opts.Clock.Now()
	before, stuck := db.pages, false
	for db.freePages > 0 && !stuck && db.opts.Clock.Now().Sub(start) < sliceTime {
		was := db.freePages
		err := db.transact(func() error {
			return db.w.exec("PRAGMA incremental_vacuum(" + vacuumPagesPerRun + ")")
		})
		if err != nil {
			return checked(db.opts.Path, "vacuum", err)
		}
		stuck = db.freePages >= was
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stats.VacuumedPages += max(before-db.pages, 0)
	if db.freePages == 0 || stuck {
		db.stats.Vacuuming = false
		db.endVacuum()
	}
	return nil
}
