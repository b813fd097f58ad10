// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// DB is an open database. Its methods may be called from any goroutine; the order
// of Write calls is the order of commits.
type DB struct {
	opts    Options
	created bool

	readers *readerPool
	copies  *copies

	// Owned by the writer goroutine.
	recovered
	w                  *conn
	pageSize           int64
	pages, freePages   int64
	walBytes           int64
	light              bool // see checkpoint.go
	checkpointAt       int64
	lastCheckpoint     time.Time
	rowRetry, jobRetry retry

	mu     sync.Mutex
	wakeup chan struct{} // capacity 1: the writer has something to look at
	room   sync.Cond     // of mu: the backlog shrank, or the DB ended

	backlog      []*queued
	backlogBytes int64
	backlogRows  int
	enqueued     uint64 // batches ever enqueued
	committed    uint64 // of those, committed
	waiters      []waiter
	requests     []*request
	deletes      []*deletion
	vacuumed     chan struct{} // closed when all free pages are given back; nil: nobody asked

	closing  bool  // nothing more is taken in
	stopping bool  // the writer is to end
	fatal    error // why the writer ended by itself; sticky
	stats    Stats
	done     chan struct{} // the writer has returned
}

// queued is a batch, its size, and when it came.
type queued struct {
	batch *Batch
	bytes int64
	at    time.Time
}

// waiter is told when the batches up to ticket are committed.
type waiter struct {
	ticket uint64
	ch     chan error // capacity 1; nil: committed
}

// request asks the writer for a job on its connection.
type request struct {
	run  func() error
	done chan error // capacity 1
}

func newDB(o Options, r recovered, w *conn) *DB {
	db := &DB{
		opts:      o,
		recovered: r,
		w:         w,
		readers:   newReaderPool(o),
		copies:    newCopies(o.Copies),
		wakeup:    make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
	db.room.L = &db.mu
	return db
}

// Created says that Open found no file and made one: what the log does not
// reach back to is not in it.
func (db *DB) Created() bool { return db.created }

// Write enqueues a batch. It blocks while the backlog is over its bound. It
// returns ErrClosed after Close, or the error that ended the writer; then, and
// only then, the batch was not taken.
func (db *DB) Write(b *Batch) error {
	q := &queued{batch: b, bytes: b.Size(), at: db.opts.Clock.Now()}
	db.mu.Lock()
	defer db.mu.Unlock()
	for db.backlogBytes > 0 && db.backlogBytes+q.bytes > db.opts.BacklogBytes && db.ended() == nil {
		db.room.Wait()
	}
	if err := db.ended(); err != nil {
		return err
	}
	db.backlog = append(db.backlog, q)
	db.backlogBytes += q.bytes
	db.backlogRows += len(b.Rows)
	db.enqueued++
	if len(db.backlog) == 1 || db.backlogBytes >= db.opts.TxBytes || db.backlogRows >= db.opts.TxRows {
		db.wake()
	}
	return nil
}

// ended returns why nothing can be enqueued any more, nil if it can. Holds mu.
func (db *DB) ended() error {
	if db.fatal != nil {
		return db.fatal
	}
	if db.closing {
		return ErrClosed
	}
	return nil
}

// wake makes the writer look at its queues. It never blocks.
func (db *DB) wake() {
	select {
	case db.wakeup <- struct{}{}:
	default:
	}
}

// Flush returns when everything enqueued before is committed. While the disk
// refuses writes it waits, and ctx's error comes with the disk's.
func (db *DB) Flush(ctx context.Context) error {
	db.mu.Lock()
	if db.fatal != nil || db.committed == db.enqueued {
		defer db.mu.Unlock()
		return db.fatal
	}
	if db.stopping {
		defer db.mu.Unlock()
		return ErrClosed
	}
	w := waiter{ticket: db.enqueued, ch: make(chan error, 1)}
	db.waiters = append(db.waiters, w)
	db.wake()
	db.mu.Unlock()
	return db.await(ctx, w.ch)
}

// await waits for the writer's answer.
func (db *DB) await(ctx context.Context, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	if cause := db.Stats().Err; cause != nil {
		return fmt.Errorf("sqldb: %w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// nextRequest takes the oldest job, nil if there is none.
func (db *DB) nextRequest() *request {
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.requests) == 0 {
		return nil
	}
	r := db.requests[0]
	db.requests = db.requests[1:]
	return r
}

// do has the writer run a job between transactions and returns its error.
func (db *DB) do(ctx context.Context, run func() error) error {
	r := &request{run: run, done: make(chan error, 1)}
	db.mu.Lock()
	if err := db.ended(); err != nil {
		db.mu.Unlock()
		return err
	}
	db.requests = append(db.requests, r)
	db.wake()
	db.mu.Unlock()
	return db.await(ctx, r.done)
}

// Close commits the backlog, copies the -wal file into the database file, removes
// it, and closes the database. If ctx ends first the backlog is given up: the
// database is then as after a crash, and ctx's error is returned. A database that Open
// made and nothing was written to is removed: a start that was refused leaves no trace.
func (db *DB) Close(ctx context.Context) error {
	db.mu.Lock()
	again := db.closing
	db.closing = true
	db.room.Broadcast()
	db.mu.Unlock()
	if again {
		<-db.done
		return ErrClosed
	}
	flushErr := db.Flush(ctx)
	db.mu.Lock()
	db.stopping = true
	db.wake()
	db.mu.Unlock()
	<-db.done
	err := errors.Join(flushErr, db.copies.close(), db.readers.close(), db.closeWriter())
	if err == nil && db.created && db.Stats().Commits == 0 {
		err = os.Remove(db.opts.Path)
	}
	return err
}

// Abandon closes the database as it is: the backlog is dropped, who waits for it is told ErrClosed, and nothing is
// copied out of the -wal file. It waits for what the writer and readers are in the middle of, but for no disk that
// refuses writes. The files are then as after a crash.
func (db *DB) Abandon() error {
	db.mu.Lock()
	again := db.closing
	db.closing, db.stopping = true, true
	db.room.Broadcast()
	db.wake()
	db.mu.Unlock()
	<-db.done
	if again {
		return ErrClosed
	}
	return errors.Join(db.copies.close(), db.readers.close(), db.closeAsIs(), db.closeFiles())
}

// Stats returns a snapshot; it takes no lock of the database.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.stats
	s.BacklogBytes, s.BacklogRows = db.backlogBytes, db.backlogRows
	if db.fatal != nil {
		s.Err = db.fatal
	}
	return s
}
