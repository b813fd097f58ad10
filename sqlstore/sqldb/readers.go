// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"time"
)

// readerPool lends reading connections, opened when first needed.
type readerPool struct {
	opts Options
	// slots holds one token for each connection that may exist: nil for one
	// that is not open.
	slots chan *conn
	ended chan struct{}
}

func newReaderPool(o Options) *readerPool {
	p := &readerPool{opts: o, slots: make(chan *conn, o.ReadConns), ended: make(chan struct{})}
	for range o.ReadConns {
		p.slots <- nil
	}
	return p
}

// get lends a connection, waiting for one to come back if all are out.
func (p *readerPool) get(ctx context.Context) (*conn, error) {
	var c *conn
	select {
	case c = <-p.slots:
	case <-p.ended:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-p.ended:
		p.slots <- c
		return nil, ErrClosed
	default:
	}
	if c != nil {
		return c, nil
	}
	c, err := openConn(ctx, p.opts.Path, modeUse, readerPragmas(p.opts)...)
	if err != nil {
		p.slots <- nil
		return nil, checked(p.opts.Path, "open a reading connection", err)
	}
	return c, nil
}

// put takes a connection back.
func (p *readerPool) put(c *conn) { p.slots <- c }

// with lends a connection to fn.
func (p *readerPool) with(ctx context.Context, fn func(c *conn) error) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	defer p.put(c)
	return fn(c)
}

// exclusively runs fn while no connection is lent, and reports whether it did: not
// if they are not all back when the timer fires.
func (p *readerPool) exclusively(timer <-chan time.Time, fn func() error) (bool, error) {
	var held []*conn
	defer func() {
		for _, c := range held {
			p.slots <- c
		}
	}()
	for range cap(p.slots) {
		select {
		case c := <-p.slots:
			held = append(held, c)
		case <-timer:
			return false, nil
		}
	}
	return true, fn()
}

// close waits until all connections are back and closes them. None can be lent after that, so who wants to be alone is.
func (p *readerPool) close() error {
	close(p.ended)
	var errs []error
	for range cap(p.slots) {
		if c := <-p.slots; c != nil {
			errs = append(errs, c.close())
		}
	}
	for range cap(p.slots) {
		p.slots <- nil
	}
	return errors.Join(errs...)
}
