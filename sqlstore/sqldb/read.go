// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

const rowColumns = "seq, revision, sub, key, create_revision, version, lease, value"

// Bounds of one read transaction of Scan: a long one would keep the -wal file
// from being started over.
const (
	scanPageRows  = 256
	scanPageBytes = 1 << 20
)

// errPageFull ends a query whose page has reached its bounds.
var errPageFull = errors.New("page is full")

// rowOf makes a Row of rowColumns. Its byte slices are the driver's copies.
func rowOf(cols []driver.Value) (r Row, err error) {
	var ok [7]bool
	r.Seq, ok[0] = cols[0].(int64)
	r.Revision, ok[1] = cols[1].(int64)
	r.Sub, ok[2] = cols[2].(int64)
	r.Key, ok[3] = cols[3].([]byte)
	r.CreateRevision, ok[4] = cols[4].(int64)
	r.Version, ok[5] = cols[5].(int64)
	r.Lease, ok[6] = cols[6].(int64)
	if ok != [...]bool{true, true, true, true, true, true, true} {
		return r, fmt.Errorf("%w: row %v has columns of the wrong type", ErrCorrupt, cols[0])
	}
	switch v := cols[7].(type) {
	case nil:
		r.Tombstone = true
	case []byte:
		r.Value = notNil(v)
	default:
		return r, fmt.Errorf("%w: the value of row %d is not a blob", ErrCorrupt, r.Seq)
	}
	return r, nil
}

// lookUps are how many rows one statement looks up: the fixed cost of running one
// is that of several rows. readBatch is a bound on one read transaction.
const (
	lookUpMany = 64
	lookUpSome = 8
	readBatch  = 1024
)

var (
	selectRow  = "SELECT " + rowColumns + " FROM history WHERE seq IN (?)"
	selectSome = "SELECT " + rowColumns + " FROM history WHERE seq IN (?" + strings.Repeat(", ?", lookUpSome-1) + ")"
	selectMany = "SELECT " + rowColumns + " FROM history WHERE seq IN (?" + strings.Repeat(", ?", lookUpMany-1) + ")"
)

// Read looks rows up by their sequence numbers, which ascend, and hands row
// seqs[i] to fn(i, row), in order. A row that is not in the database is left out:
// it was compacted away or is not yet committed. The rows are fn's to keep. fn must
// not call methods of the DB; its error ends the reading and is returned.
func (db *DB) Read(ctx context.Context, seqs []int64, fn func(i int, r Row) error) error {
	if !slices.IsSorted(seqs) {
		return errors.New("sqldb: read: sequence numbers do not ascend")
	}
	for start := 0; start < len(seqs); start += readBatch {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(start+readBatch, len(seqs))
		err := db.readers.with(ctx, func(c *conn) error {
			return c.snapshot(func() error {
				return lookUp(c, seqs[start:end], func(i int, r Row) error { return fn(start+i, r) })
			})
		})
		if err != nil {
			return checked(db.opts.Path, "read", err)
		}
	}
	return nil
}

// lookUp reads rows in groups of as many as a statement takes.
func lookUp(c *conn, seqs []int64, fn func(i int, r Row) error) error {
	args := make([]any, 0, lookUpMany)
	for start := 0; start < len(seqs); {
		query, size := selectMany, lookUpMany
		switch rest := len(seqs) - start; {
		case rest == 1:
			query, size = selectRow, 1
		case rest <= 2*lookUpSome:
			query, size = selectSome, lookUpSome
		}
		args = args[:0]
		for i := range size {
			// The last one fills a group that is not full.
			args = append(args, seqs[min(start+i, len(seqs)-1)])
		}
		i, end := start, min(start+size, len(seqs))
		err := c.each(query, func(cols []driver.Value) error {
			r, err := rowOf(cols)
			if err != nil {
				return err
			}
			for ; i < end && seqs[i] <= r.Seq; i++ {
				if seqs[i] < r.Seq {
					continue // not there
				}
				if err := fn(i, r); err != nil {
					return err
				}
			}
			return nil
		}, args...)
		if err != nil {
			return err
		}
		start = end
	}
	return nil
}

// Scan hands the rows from sequence number from on to fn, in order, everything
// that was enqueued before the call included: it waits until that is committed.
// It reads page by page and holds no transaction while fn runs. The rows are fn's
// to keep. fn's error ends the scan and is returned.
func (db *DB) Scan(ctx context.Context, from int64, fn func(r Row) error) error {
	if err := db.Flush(ctx); err != nil {
		return err
	}
	page := make([]Row, 0, scanPageRows)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page = page[:0]
		err := db.readers.with(ctx, func(c *conn) (err error) {
			page, err = readPage(c, from, page)
			return err
		})
		if err != nil {
			return checked(db.opts.Path, "scan", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, r := range page {
			if err := fn(r); err != nil {
				return err
			}
		}
		from = page[len(page)-1].Seq + 1
	}
}

// readPage appends the next rows from sequence number from on, as many as the
// bounds of a page allow.
func readPage(c *conn, from int64, page []Row) ([]Row, error) {
	size := 0
	err := c.each("SELECT "+rowColumns+" FROM history WHERE seq >= ? ORDER BY seq", func(cols []driver.Value) error {
		r, err := rowOf(cols)
		if err != nil {
			return err
		}
		page = append(page, r)
		size += len(r.Key) + len(r.Value)
		if len(page) >= scanPageRows || size >= scanPageBytes {
			return errPageFull
		}
		return nil
	}, from)
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return page, err
}

// SeqOfRevision returns the first sequence number whose revision is at least
// rev, and NextSeq if there is none. Like Scan it sees what was enqueued before.
func (db *DB) SeqOfRevision(ctx context.Context, rev int64) (int64, error) {
	if err := db.Flush(ctx); err != nil {
		return 0, err
	}
	var seq int64
	err := db.readers.with(ctx, func(c *conn) error {
		return c.snapshot(func() (err error) {
			seq, err = seqOfRevision(c, rev)
			return err
		})
	})
	return seq, checked(db.opts.Path, "search", err)
}

// seqOfRevision searches the primary key: revisions grow with it. Compaction
// leaves gaps, so it asks for the first row at or after the middle.
func seqOfRevision(c *conn, rev int64) (int64, error) {
	next, err := nextSeq(c)
	if err != nil {
		return 0, err
	}
	lo, hi := int64(1), next // the answer is in [lo, hi]
	for lo < hi {
		mid := lo + (hi-lo)/2
		found, revision := next, int64(0)
		err := c.each("SELECT seq, revision FROM history WHERE seq >= ? ORDER BY seq LIMIT 1", func(cols []driver.Value) error {
			found, revision = cols[0].(int64), cols[1].(int64)
			return nil
		}, mid)
		switch {
		case err != nil:
			return 0, err
		case found < hi && revision < rev:
			lo = found + 1
		default:
			hi = mid
		}
	}
	// lo may be in a gap, or the search may have ended between two rows.
	err = c.each("SELECT seq FROM history WHERE seq >= ? ORDER BY seq LIMIT 1", func(cols []driver.Value) error {
		lo = cols[0].(int64)
		return nil
	}, lo)
	return lo, err
}

// nextSeq returns 1 above the highest sequence number that the database ever held.
func nextSeq(c *conn) (int64, error) {
	stored, err := c.int("SELECT coalesce((SELECT value FROM setting WHERE name = ?), 1)", SettingNextSeq)
	if err != nil {
		return 0, err
	}
	highest, err := c.int("SELECT coalesce(max(seq), 0) FROM history")
	return max(stored, highest+1), err
}

// stringOf views bytes, which nobody will change, as a string.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
