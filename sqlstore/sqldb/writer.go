// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// The writer goroutine owns the writing connection. Each turn of its loop does
// at most one piece of each kind of work, the urgent kinds first, so that rows
// never wait for more than one slice of the others and none of them starves:
//
//	a transaction of rows, jobs asked for, a slice of deletions, a checkpoint,
//	a slice of vacuum

// Waits between attempts while the disk refuses writes.
const (
	retryMin = 10 * time.Millisecond
	retryMax = time.Second
)

// retry says whether a kind of work fails at the moment, and when to try again.
type retry struct {
	err   error
	delay time.Duration
	at    time.Time
}

// failed notes an error and puts off the next attempt.
func (r *retry) failed(err error, now time.Time) {
	r.err = err
	r.delay = min(max(2*r.delay, retryMin), retryMax)
	r.at = now.Add(r.delay)
}

func (r *retry) succeeded() { *r = retry{} }

// due tells whether the work may be tried.
func (r *retry) due(now time.Time) bool { return r.err == nil || !now.Before(r.at) }

// write is the writer goroutine.
func (db *DB) write() {
	defer close(db.done)
	for {
		now := db.opts.Clock.Now()
		db.mu.Lock()
		end := db.stopping || db.fatal != nil
		db.mu.Unlock()
		if end {
			break
		}
		if !db.turn(now) {
			db.sleep(now)
		}
	}
	db.release()
}

// release answers everybody who waits, at the writer's end.
func (db *DB) release() {
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
	for _, d := range db.deletes {
		d.done <- end
	}
	db.waiters, db.requests, db.deletes = nil, nil, nil
	db.endVacuum()
	db.room.Broadcast()
}

// turn does what is due and reports whether anything was.
func (db *DB) turn(now time.Time) bool {
	busy := false
	if batches := db.take(now); batches != nil && db.rowRetry.due(now) {
		db.attempt(&db.rowRetry, func() error { return db.commit(batches) })
		busy = true
	}
	if r := db.nextRequest(); r != nil {
		r.done <- db.attempt(&db.jobRetry, r.run)
		busy = true
	}
	if !db.jobRetry.due(now) {
		return busy
	}
	for _, work := range []struct {
		due bool
		run func() error
	}{
		{db.deletePending(), db.deleteSlice},
		{db.checkpointDue(now), db.checkpoint},
		{db.vacuumDue(), db.vacuumSlice},
	} {
		if work.due {
			db.attempt(&db.jobRetry, work.run)
			busy = true
		}
	}
	return busy
}

// sleep waits until something is enqueued or due.
func (db *DB) sleep(now time.Time) {
	select {
	case <-db.wakeup:
	case <-db.alarm(now):
	}
}

// alarm returns a timer for the next thing that becomes due by itself, nil if
// nothing does.
func (db *DB) alarm(now time.Time) <-chan time.Time {
	var next time.Time
	at := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	db.mu.Lock()
	if len(db.backlog) > 0 {
		if db.rowRetry.err == nil {
			at(db.backlog[0].at.Add(db.opts.CommitInterval))
		} else {
			at(db.rowRetry.at)
		}
	}
	db.mu.Unlock()
	if db.jobRetry.err != nil {
		at(db.jobRetry.at)
	} else if db.walBytes > 0 {
		at(db.lastCheckpoint.Add(db.checkpointEvery()))
	}
	if next.IsZero() {
		return nil
	}
	return db.opts.Clock.After(max(next.Sub(now), 0))
}

// attempt runs one piece of work and keeps account of its failures: those that
// may pass are retried, the others end the writer.
func (db *DB) attempt(r *retry, run func() error) error {
	before := db.failure()
	err := run()
	switch {
	case err == nil:
		r.succeeded()
	case isSyncFailure(err), isDamage(err), r == &db.rowRetry && !isTransient(err):
		db.mu.Lock()
		db.fatal = err
		db.mu.Unlock()
	default:
		r.failed(err, db.opts.Clock.Now())
	}
	after := db.failure()
	db.mu.Lock()
	db.stats.Err = after
	db.mu.Unlock()
	if before == nil && after != nil {
		db.opts.Logger.Warn("database can't be written", zap.String("path", db.opts.Path), zap.Error(after))
		db.opts.OnError(after)
	} else if before != nil && after == nil {
		db.opts.Logger.Info("database can be written again", zap.String("path", db.opts.Path))
		db.opts.OnError(nil)
	}
	return err
}

// failure returns why the writer can't work at the moment.
func (db *DB) failure() error {
	db.mu.Lock()
	fatal := db.fatal
	db.mu.Unlock()
	return errors.Join(fatal, db.rowRetry.err, db.jobRetry.err)
}

// take returns the batches of the next transaction, nil if none is due. They
// stay in the backlog until they are committed.
func (db *DB) take(now time.Time) []*queued {
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.backlog) == 0 {
		return nil
	}
	full := db.backlogBytes >= db.opts.TxBytes || db.backlogRows >= db.opts.TxRows
	if len(db.waiters) == 0 && !full && now.Before(db.backlog[0].at.Add(db.opts.CommitInterval)) {
		return nil
	}
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

// commit writes the batches in one transaction and tells who waits.
func (db *DB) commit(batches []*queued) error {
	start := db.opts.Clock.Now()
	if err := db.transact(func() error { return db.apply(batches) }); err != nil {
		return checked(db.opts.Path, "commit", err)
	}
	done := sum(batches)
	took := db.opts.Clock.Now().Sub(start)
	db.mu.Lock()
	clear(db.backlog[:len(batches)])
	if db.backlog = db.backlog[len(batches):]; len(db.backlog) == 0 {
		db.backlog = nil
	}
	db.backlogBytes -= done.bytes
	db.backlogRows -= done.rows
	db.committed += uint64(len(batches))
	s := &db.stats
	s.CommittedSeq = max(s.CommittedSeq, done.lastSeq)
	s.CommittedIndex = max(s.CommittedIndex, done.applied)
	s.Commits++
	s.CommittedRows += int64(done.rows)
	s.LastCommitSeconds = took.Seconds()
	lastSeq := s.CommittedSeq
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
	db.opts.OnCommit(lastSeq, took)
	return nil
}

// summary adds batches up.
type summary struct {
	lastSeq int64
	applied uint64
	rows    int
	bytes   int64
}

func sum(batches []*queued) (s summary) {
	for _, q := range batches {
		s.bytes += q.bytes
		s.rows += len(q.batch.Rows)
		if n := len(q.batch.Rows); n > 0 {
			s.lastSeq = q.batch.Rows[n-1].Seq
		}
		s.applied = max(s.applied, q.batch.AppliedIndex)
	}
	return s
}

// transact runs fn in one transaction and brings the sizes up to date.
func (db *DB) transact(fn func() error) error {
	err := db.w.exec("BEGIN IMMEDIATE")
	if err != nil {
		return err
	}
	var pages, free int64
	if err = fn(); err == nil {
		pages, free, err = db.countPages()
	}
	if err == nil {
		err = db.w.exec("COMMIT")
	}
	if err != nil {
		// After some errors SQLite has rolled back by itself, and says so here.
		_ = db.w.exec("ROLLBACK")
		return err
	}
	db.setSizes(pages, free)
	return nil
}

// countPages returns the pages of the database and those of them that are free.
func (db *DB) countPages() (pages, free int64, err error) {
	if pages, err = db.w.int("PRAGMA page_count"); err != nil {
		return 0, 0, err
	}
	free, err = db.w.int("PRAGMA freelist_count")
	return pages, free, err
}

func (db *DB) setSizes(pages, free int64) {
	// A size that can't be had is looked up again after the next transaction.
	if wal, err := fileSize(db.opts.Path + "-wal"); err == nil {
		db.walBytes = wal
	}
	db.pages, db.freePages = pages, free
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stats.TotalBytes, db.stats.FreeBytes = pages*db.pageSize, free*db.pageSize
	db.stats.WALBytes = db.walBytes
}
