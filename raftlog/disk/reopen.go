// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// Reopen drops what a failed Save left behind and makes Save possible again. What was saved before must all be
// there, else the error is final.
func (w *WAL) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		return w.lost
	}
	if w.wal != nil {
		if err := w.close(); err != nil {
			return w.lose(fmt.Errorf("write-ahead log: close after a failed write: %w", err))
		}
	}
	if err := w.cutUnsaved(); err != nil {
		return w.writeFailed(err)
	}
	s, rec, err := w.reopen()
	if err != nil {
		return w.writeFailed(err)
	}
	if err := w.saved.check(rec); err != nil {
		return w.lose(errors.Join(err, w.close()))
	}
	// A commit index that was not synced is gone from the files.
	w.again = w.saved.state
	w.noteOpened(s)
	w.broken = false
	return nil
}

// reopen opens the log where it was opened, or began anew, before.
func (w *WAL) reopen() (*scanned, *Recovered, error) {
	// The failed write may have begun the next segment in one of them.
	if err := removeUnused(w.opts.WALDir); err != nil {
		return nil, nil, err
	}
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return nil, nil, err
	}
	s, err := scan(all, w.saved.start.GetIndex())
	if err != nil {
		return nil, nil, err
	}
	s.start = w.saved.start
	rec, err := w.openAt(s)
	return s, rec, err
}

// cutUnsaved cuts the log off after what was synced. The rest may have been written in part, and may be in the
// kernel's cache only: saving it again from the beginning is the only way to be sure of it.
func (w *WAL) cutUnsaved() error {
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return err
	}
	c := recordCount{left: w.saved.records, stated: w.saved.stated}
	last, end, err := c.find(all, w.saved.marked)
	if err != nil {
		return err
	}
	// The newest first: what is left is a log at any time.
	for _, s := range slices.Backward(all[last+1:]) {
		if err := os.Remove(s.path); err != nil {
			return fmt.Errorf("remove a segment that was not saved: %w", err)
		}
	}
	if err := w.syncDir(); err != nil {
		return err
	}
	return w.cutSegment(all[last].path, end)
}

// syncDir makes it durable which segments there are.
func (w *WAL) syncDir() error {
	if w.opts.UnsafeNoFsync {
		return nil
	}
	dir, err := fileutil.OpenDir(w.opts.WALDir)
	if err != nil {
		return err
	}
	return errors.Join(fileutil.Fsync(dir), dir.Close())
}

// cutSegment cuts a segment off at end, unless it has nothing after it.
func (w *WAL) cutSegment(path string, end int64) error {
	b, unmap, err := mapFile(path)
	if err != nil {
		return err
	}
	rest := isZero(b[end:])
	if err := unmap(); err != nil || rest {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(end)
	if err == nil && !w.opts.UnsafeNoFsync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// mark notes where the log ends, all of which is synced, so that nothing before is needed to find that out.
func (w *WAL) mark() error {
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return err
	}
	c := recordCount{left: w.saved.records, stated: w.saved.stated}
	last, end, err := c.find(all, w.saved.marked)
	if err != nil {
		return err
	}
	w.saved.marked, w.saved.stated = fileEnd{all[last].seq, end}, c.stated
	w.saved.records, w.written = 0, 0
	return nil
}

// recordCount counts the records that were saved since the log was marked.
type recordCount struct {
	left   int  // not found yet
	stated bool // there was a state since the log was opened
}

// find returns after which segment, and which offset in it, the log holds what was synced and no more.
func (c *recordCount) find(all []segment, marked fileEnd) (last int, end int64, err error) {
	first := slices.IndexFunc(all, func(s segment) bool { return s.seq == marked.seq })
	if first < 0 {
		return 0, 0, fmt.Errorf("segment %d of the log is gone", marked.seq)
	}
	for i := first; i < len(all); i++ {
		b, unmap, err := mapFile(all[i].path)
		if err != nil {
			return 0, 0, err
		}
		off := marked.off
		if i > first {
			off = c.passHead(b)
		}
		off, more := c.pass(b, min(off, int64(len(b))))
		if err := unmap(); err != nil {
			return 0, 0, err
		}
		if c.left == 0 && (more || i+1 == len(all)) {
			return i, off, nil
		}
		if more {
			break
		}
	}
	return 0, 0, fmt.Errorf("%d records that were saved are gone from %s", c.left, filepath.Dir(all[first].path))
}

// passHead returns where the head of the segment b ends, with which the wal package begins one: checksum, identity and
// the last state.
func (c *recordCount) passHead(b []byte) int64 {
	off := int64(0)
	for _, kind := range []uint64{recordCRC, recordMetadata, recordState} {
		r, next, err := frameAt(b, off)
		if err != nil || next == 0 || r.kind != kind || kind == recordState && !c.stated {
			break
		}
		off = next
	}
	return off
}

// pass returns where in the segment b, from off on, the records end that are left to be found, and whether
// another one follows.
func (c *recordCount) pass(b []byte, off int64) (end int64, more bool) {
	for {
		r, next, err := frameAt(b, off)
		if err == nil && next == 0 {
			return off, false
		}
		if err != nil || c.left == 0 {
			return off, true
		}
		c.left--
		c.stated = c.stated || r.kind == recordState
		off = next
	}
}

// check says whether rec holds what p says.
func (p *position) check(rec *Recovered) error {
	if rec.Identity != p.identity {
		return fmt.Errorf("write-ahead log: reopened as that of member %x of cluster %x", rec.Identity.MemberID, rec.Identity.ClusterID)
	}
	if rec.HardState.GetTerm() < p.state.GetTerm() {
		return fmt.Errorf("write-ahead log: reopened at term %d, term %d was saved", rec.HardState.GetTerm(), p.state.GetTerm())
	}
	start := rec.Snapshot.GetIndex()
	if p.index <= start {
		return nil
	}
	if at := p.index - start - 1; at >= uint64(len(rec.Entries)) || rec.Entries[at].GetTerm() != p.term {
		return fmt.Errorf("write-ahead log: reopened without entry %d of term %d, which was saved", p.index, p.term)
	}
	return nil
}
