// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import "go.etcd.io/etcd/server/v3/storage/wal/walpb"

// A snapshot record either follows the entry that it is about, when the member took the snapshot itself, or it
// came from another member. After one of those the log begins anew: entries recorded before it do not count any
// more, whatever their index, but nothing in the files says so. And the record may be void: it is written before
// the state that commits its index, and a crash may come between. What tells them apart is what the log held when
// the record was written, and what was recorded next:
//
//   - The log held the snapshot's entry, of its term: the member took it itself.
//   - Else, the next entry is the one after the snapshot, or there is none and the last state has committed the
//     snapshot: it came from another member.
//   - Else it is void: the log went on where it was, which is at the snapshot's entry at the latest, for that is
//     committed and what the log held in its place had to give way first.

// recorded is something that a segment holds, in the order of recording: a snapshot or, if that is nil, entries of
// one term with consecutive indexes.
type recorded struct {
	snapshot          *walpb.Snapshot
	first, last, term uint64
}

// history is all that the segments looked at hold, in order.
type history struct {
	events []recorded
	commit uint64 // of the last state
}

// prepend puts what an older segment holds before the rest.
func (h *history) prepend(s *segmentScan) {
	h.events = append(s.events[:len(s.events):len(s.events)], h.events...)
	if h.commit == 0 {
		h.commit = s.commit
	}
}

// place is a snapshot record at which a log can be opened.
type place struct {
	snapshot *walpb.Snapshot
	// received says that it came from another member.
	received bool
}

// places returns the snapshot records that are not void, in order, and what the log holds in the end.
func (h *history) places() (all []place, log entryRuns) {
	for i, e := range h.events {
		if e.snapshot == nil {
			log = log.record(e)
			continue
		}
		index := e.snapshot.GetIndex()
		p := place{snapshot: e.snapshot}
		if index > 0 && log.term(index) != e.snapshot.GetTerm() {
			next, found := h.entryAfter(i)
			p.received = found && next == index+1 || !found && h.commit >= index
			if !p.received {
				continue
			}
			// An entry before all that is known here may be of that term all the same. If so the log goes on, and
			// else a later snapshot does not match it either.
			if found || len(log) == 0 || index >= log[0].first {
				log = nil
			}
		}
		all = append(all, p)
	}
	return all, log
}

// last returns the index of the last entry that counts. Ones that were replaced may have gone further: whoever reads
// from a snapshot on does not see what replaced them if all of that is before it.
func (h *history) last() uint64 {
	if _, log := h.places(); len(log) > 0 {
		return log[len(log)-1].last
	}
	return 0
}

// entryAfter returns the index of the first entry recorded after event i.
func (h *history) entryAfter(i int) (uint64, bool) {
	for _, e := range h.events[i:] {
		if e.snapshot == nil {
			return e.first, true
		}
	}
	return 0, false
}

// start returns the newest place not newer than applied. It is nil if there is none; gap is then the index of a
// snapshot from another member that lies between, 0 if none does.
func (h *history) start(applied uint64) (p *place, gap uint64) {
	all, _ := h.places()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].snapshot.GetIndex() <= applied {
			return &all[i], 0
		}
		if all[i].received {
			return nil, all[i].snapshot.GetIndex()
		}
	}
	return nil, 0
}

// entryRuns is the content of a log at some time.
type entryRuns []recorded

// record returns the log after e was recorded, which replaces all from its first entry on.
func (l entryRuns) record(e recorded) entryRuns {
	for len(l) > 0 && l[len(l)-1].first >= e.first {
		l = l[:len(l)-1]
	}
	if n := len(l); n > 0 && l[n-1].last >= e.first {
		l[n-1].last = e.first - 1
	}
	return append(l, e)
}

// term returns the term of the entry with an index, 0 if there is none.
func (l entryRuns) term(index uint64) uint64 {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].first <= index && index <= l[i].last {
			return l[i].term
		}
	}
	return 0
}
