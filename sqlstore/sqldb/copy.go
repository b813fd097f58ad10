// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Copy is the whole database as of one committed state: what stands in the
// database file when that state is copied into it, header included. It is read as
// bytes, by Read, or as rows, by Next.
type Copy struct {
	// State is that of the copy.
	State State
	// Size is how many bytes Read gives in all.
	Size int64

	copies *copies
	path   string

	mu     sync.Mutex
	c      *conn       // nil: closed
	rows   driver.Rows // pages, in order
	writes driver.Rows // of the history, in order; nil until Next
	cols   []driver.Value
	page   []driver.Value
	rest   []byte // of the page at hand
	given  int64  // bytes
	ending error  // what Read returns from now on; nil while there is more
	closed error  // why it was closed
}

const (
	selectPages  = "SELECT data FROM sqlite_dbpage('main') ORDER BY pgno"
	selectWrites = "SELECT " + rowColumns + " FROM history ORDER BY seq"
)

// copies are the open copies of a DB. They have connections of their own, since a
// slow receiver must not keep readers waiting.
type copies struct {
	slots chan struct{} // holds a token for each that is open
	ended chan struct{}

	mu     sync.Mutex
	open   []*Copy // the oldest first
	closed bool
}

func newCopies(limit int) *copies {
	return &copies{slots: make(chan struct{}, limit), ended: make(chan struct{})}
}

// Copy opens a copy of everything that was enqueued before the call. It waits
// while Options.Copies of them are open. Writing goes on, but until the copy is
// closed the -wal file can't be emptied and grows by all that is written; when it is
// larger than 256 MiB and than the database the oldest copy is ended. Close of the DB closes it.
func (db *DB) Copy(ctx context.Context) (*Copy, error) {
	if err := db.Flush(ctx); err != nil {
		return nil, err
	}
	select {
	case db.copies.slots <- struct{}{}:
	case <-db.copies.ended:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := openConn(ctx, db.opts.Path, modeUse, readerPragmas(db.opts)...)
	if err != nil {
		<-db.copies.slots
		return nil, checked(db.opts.Path, "open a copy", err)
	}
	cp := &Copy{copies: db.copies, path: db.opts.Path, c: c, page: make([]driver.Value, 1)}
	if err := cp.begin(); err != nil {
		<-db.copies.slots
		return nil, errors.Join(checked(db.opts.Path, "begin a copy", err), c.close())
	}
	if !db.copies.add(cp) {
		return nil, errors.Join(ErrClosed, cp.Close())
	}
	return cp, nil
}

// begin opens the read transaction and looks at what it sees.
func (cp *Copy) begin() error {
	if err := cp.c.exec("BEGIN"); err != nil {
		return err
	}
	cp.State.Settings = map[string]Setting{}
	if err := loadState(cp.c, &cp.State); err != nil {
		return err
	}
	pages, err := cp.c.int("PRAGMA page_count")
	if err != nil {
		return err
	}
	size, err := cp.c.int("PRAGMA page_size")
	if err != nil {
		return err
	}
	cp.Size = pages * size
	cp.rows, err = cp.query(selectPages)
	return err
}

func (cp *Copy) query(sql string) (driver.Rows, error) {
	s, err := cp.c.prepare(sql)
	if err != nil {
		return nil, err
	}
	s.bind(nil)
	return s.query.QueryContext(context.Background(), s.args)
}

// Read gives the next bytes, io.EOF after Size of them. It returns ErrClosed after
// Close of the copy or of the DB, and ErrCopyTooSlow when it was ended; a copy that could not be read to its end never
// ends in io.EOF.
func (cp *Copy) Read(p []byte) (int, error) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if len(cp.rest) == 0 && cp.ending == nil {
		cp.ending = cp.next()
	}
	if cp.ending != nil {
		return 0, cp.ending
	}
	n := copy(p, cp.rest)
	cp.rest = cp.rest[n:]
	cp.given += int64(n)
	return n, nil
}

// next reads a page. Holds mu.
func (cp *Copy) next() error {
	err := cp.rows.Next(cp.page)
	switch {
	case errors.Is(err, io.EOF) && cp.given == cp.Size:
		return io.EOF
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %d bytes of %d could be read", ErrCorrupt, cp.given, cp.Size)
	case err == nil:
		var ok bool
		if cp.rest, ok = cp.page[0].([]byte); ok && len(cp.rest) > 0 && cp.given+int64(len(cp.rest)) <= cp.Size {
			return nil
		}
		err = fmt.Errorf("%w: a page of %d bytes at %d of %d", ErrCorrupt, len(cp.rest), cp.given, cp.Size)
		cp.rest = nil
	}
	return checked(cp.path, "copy", err)
}

// Next gives the next row of the history, in order of Seq, and io.EOF after the last.
// Its bytes are the caller's to keep. It returns ErrClosed and ErrCopyTooSlow as Read does.
func (cp *Copy) Next() (Row, error) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.c == nil {
		return Row{}, cp.closed
	}
	if cp.writes == nil {
		var err error
		if cp.writes, err = cp.query(selectWrites); err != nil {
			return Row{}, checked(cp.path, "copy rows", err)
		}
		cp.cols = make([]driver.Value, len(cp.writes.Columns()))
	}
	err := cp.writes.Next(cp.cols)
	if errors.Is(err, io.EOF) {
		return Row{}, io.EOF
	}
	var r Row
	if err == nil {
		r, err = rowOf(cp.cols)
	}
	return r, checked(cp.path, "copy rows", err)
}

// Close ends the copy, at its end or before. It may be called again, and beside Read.
func (cp *Copy) Close() error { return cp.end(ErrClosed) }

// end closes the copy; why is what Read and Next return then, unless Read has come to its end.
func (cp *Copy) end(why error) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.c == nil {
		return nil
	}
	cp.closed = why
	if cp.ending == nil {
		cp.ending = why
	}
	err := cp.rows.Close()
	if cp.writes != nil {
		err = errors.Join(err, cp.writes.Close())
	}
	err = errors.Join(err, cp.c.close())
	cp.c, cp.rows, cp.writes, cp.rest = nil, nil, nil, nil
	cp.copies.remove(cp)
	return err
}

// add notes an open copy; false once the DB is closed.
func (cs *copies) add(cp *Copy) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.closed {
		cs.open = append(cs.open, cp)
	}
	return !cs.closed
}

// remove frees the slot of a copy that was closed.
func (cs *copies) remove(cp *Copy) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open = slices.DeleteFunc(cs.open, func(other *Copy) bool { return other == cp })
	<-cs.slots
}

// endOldest ends the copy that has been open for longest, and tells whether there was one.
func (cs *copies) endOldest() bool {
	cs.mu.Lock()
	if len(cs.open) == 0 {
		cs.mu.Unlock()
		return false
	}
	cp := cs.open[0]
	cs.mu.Unlock()
	// An error of closing what was only read from changes nothing for anybody.
	_ = cp.end(ErrCopyTooSlow)
	return true
}

// close closes all copies, and no more are opened.
func (cs *copies) close() error {
	cs.mu.Lock()
	if !cs.closed {
		close(cs.ended)
	}
	cs.closed = true
	open := slices.Clone(cs.open)
	cs.mu.Unlock()
	var errs []error
	for _, cp := range open {
		errs = append(errs, cp.Close())
	}
	return errors.Join(errs...)
}
