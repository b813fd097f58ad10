// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	sqlite "modernc.org/sqlite"
)

// conn is one connection to SQLite with the statements that it holds. It talks
// to the driver itself: database/sql would add a third to the cost of a row.
// One goroutine at a time uses it.
type conn struct {
	c     driver.Conn
	stmts map[string]*stmt
}

// stmt is a prepared statement and the arguments of its next run.
type stmt struct {
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	close func() error
	args  []driver.NamedValue
}

// accessMode is SQLite's mode parameter: what opening may do to the file.
type accessMode string

const (
	modeCreate accessMode = "rwc"
	modeUse    accessMode = "rw"
	modeRead   accessMode = "ro"
)

// openConn opens a connection and runs the pragmas on it.
func openConn(ctx context.Context, path string, mode accessMode, pragmas ...string) (*conn, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := url.URL{Scheme: "file", Path: abs, RawQuery: "mode=" + string(mode)}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{c: dc, stmts: map[string]*stmt{}}
	for _, p := range pragmas {
		if err := c.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// close finalizes the held statements and closes the connection.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.c.Close())...)
}

// prepare returns the held statement for sql, preparing it at its first use.
func (c *conn) prepare(sql string) (*stmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	ds, err := c.c.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", sql, err)
	}
	s := &stmt{
		exec:  ds.(driver.StmtExecContext),
		query: ds.(driver.StmtQueryContext),
		close: ds.Close,
	}
	c.stmts[sql] = s
	return s, nil
}

// bind sets the arguments: nil, int64, string or []byte each.
func (s *stmt) bind(args []any) {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
}

// exec runs a statement that returns nothing, held prepared.
func (c *conn) exec(sql string, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	return s.run(args...)
}

// script runs several statements without arguments, not held.
func (c *conn) script(sql string) error {
	_, err := c.c.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

func (s *stmt) run(args ...any) error {
	s.bind(args)
	_, err := s.exec.ExecContext(context.Background(), s.args)
	return err
}

// each runs a query and calls fn with the columns of each row; the slice is used
// again for the next row, blobs and texts in it are the callee's. fn's error ends
// the query and is returned.
func (c *conn) each(sql string, fn func(cols []driver.Value) error, args ...any) error {
	// No context: the driver would start a goroutine for each query to watch it.
	// Callers keep queries short and look at their context between them.
	return c.eachUntil(context.Background(), sql, fn, args...)
}

// eachUntil is each for a query that takes long to its first row: the end of ctx interrupts it.
func (c *conn) eachUntil(ctx context.Context, sql string, fn func(cols []driver.Value) error, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	s.bind(args)
	rows, err := s.query.QueryContext(ctx, s.args)
	if err != nil {
		return err
	}
	cols := make([]driver.Value, len(rows.Columns()))
	for {
		if err = rows.Next(cols); err != nil {
			break
		}
		if err = fn(cols); err != nil {
			break
		}
	}
	closeErr := rows.Close()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil {
		err = closeErr
	}
	return err
}

// int returns the single integer of a query's single row.
func (c *conn) int(sql string, args ...any) (int64, error) {
	var n int64
	err := c.each(sql, func(cols []driver.Value) error {
		n, _ = cols[0].(int64)
		return nil
	}, args...)
	return n, err
}

// snapshot runs fn in one read transaction: queries cost less in it, and see one state.
func (c *conn) snapshot(fn func() error) error {
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	return errors.Join(fn(), c.exec("COMMIT"))
}
