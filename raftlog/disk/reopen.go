// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// Reopen drops what a failed Save left behind and makes Save possible again. What was saved before must all be
// there, else the error is final.
func (w *WAL) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wal != nil {
		if err := w.close(); err != nil {
			return fmt.Errorf("write-ahead log: close after a failed write: %w", err)
		}
	}
	if err := w.cutUnsaved(); err != nil {
		return w.writeFailed(err)
	}
	rec, err := w.reopen()
	if err != nil {
		return w.writeFailed(err)
	}
	if err := w.saved.check(rec); err != nil {
		return errors.Join(err, w.close())
	}
	w.notePosition(rec)
	w.broken = false
	return nil
}

// reopen opens the log where it was opened, or began anew, before.
func (w *WAL) reopen() (*Recovered, error) {
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return nil, err
	}
	s, err := scan(all, w.saved.start.GetIndex())
	if err != nil {
		return nil, err
	}
	s.start = w.saved.start
	return w.openAt(s)
}

// cutUnsaved cuts the last segment off after what was saved. The rest may have been written in part, and may be
// in the kernel's cache only: saving it again from the beginning is the only way to be sure of it. A segment
// without a place up to which all was saved was begun by the failed write, after syncing everything before.
func (w *WAL) cutUnsaved() error {
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("the segments in %s are gone", w.opts.WALDir)
	}
	path := all[len(all)-1].path
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end := w.saved.endIn(b)
	if end == 0 || isZero(b[end:]) {
		return nil
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

// endIn returns the offset in the segment b after the last record with which the log holds what p says and no
// more; 0 if there is none. The commit index doesn't matter: what is committed stays so.
func (p *position) endIn(b []byte) int64 {
	var end int64
	entriesFit := true // none so far: the last one is in an earlier segment
	stateFits := p.state.GetTerm() == 0
	crc := uint32(0)
	for off := int64(0); ; {
		r, next, err := frameAt(b, off)
		if err != nil || next == 0 {
			return end
		}
		switch r.kind {
		case recordCRC:
			crc = r.crc
		case recordEntry:
			e, ok := parseEntryHead(r.data)
			entriesFit = ok && e.index == p.index && e.term == p.term
		case recordState:
			s, ok := parseState(r.data)
			stateFits = ok && s.term == p.state.GetTerm() && s.vote == p.state.GetVote()
		case recordSnapshot:
			var s walpb.Snapshot
			if proto.Unmarshal(r.data, &s) == nil && s.GetIndex() == p.index && s.GetTerm() == p.term {
				entriesFit = true
			}
		}
		if r.kind != recordCRC {
			if crc = crc32.Update(crc, castagnoli, r.data); crc != r.crc {
				return end
			}
		}
		off = next
		if entriesFit && stateFits {
			end = off
		}
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
