// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Options says where a log lives and how many of its files are kept.
type Options struct {
	// WALDir holds the segments, SnapDir the .snap files.
	WALDir, SnapDir string
	// MaxWALs and MaxSnapshots are the number of files kept at least; negative: all.
	MaxWALs, MaxSnapshots int
	// UnsafeNoFsync leaves out syncing.
	UnsafeNoFsync bool
	Logger        *zap.Logger
}

// WAL keeps a log in etcd's files by etcd's packages. See package raftlog's Storage for its contract.
type WAL struct {
	opts Options
	log  *zap.Logger
	snap *snap.Snapshotter

	mu      sync.Mutex
	wal     *wal.WAL
	broken  bool  // wal took a part of a write that failed; Reopen must come first
	lost    error // why nothing can be saved any more
	saved   position
	written int // records given to wal since the log was marked, those not synced among them
	// again is the state to repeat with the next Save: the wal package forgets it when it is opened and
	// would begin the next segment without it.
	again *raftpb.HardState
}

// position is what has been saved for certain.
type position struct {
	identity    Identity
	start       *walpb.Snapshot // where the log was opened; entries before it are not looked at
	index, term uint64          // of the last entry, or of the snapshot that the log begins after
	state       *raftpb.HardState
	// marked is where the log ended at some time; records is the number of entries, states and snapshots that are
	// synced after it. stated says that a state was written since the log was opened, and before that place.
	marked  fileEnd
	records int
	stated  bool
}

// New returns a log that is not open. Nothing is touched before Open.
func New(opts Options) *WAL {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	return &WAL{opts: opts, log: opts.Logger, snap: snap.New(opts.Logger, opts.SnapDir)}
}

// Identity returns whom the log belongs to, or false if there is none. It changes nothing.
func (w *WAL) Identity() (Identity, bool, error) {
	return ReadIdentity(w.opts.WALDir)
}

// Open takes hold of the log and reads it from the newest snapshot not newer than applied, or creates it. A
// zero id takes a log whoever it belongs to. A torn end, which only a crash leaves, is cut off; the bytes are
// kept beside it as .broken.
func (w *WAL) Open(id Identity, applied uint64) (*Recovered, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found, exists, err := ReadIdentity(w.opts.WALDir)
	if err != nil {
		return nil, err
	}
	if !exists {
		return w.create(id)
	}
	if id != (Identity{}) && id != found {
		return nil, &IdentityError{Path: w.opts.WALDir, Want: id, Got: found}
	}
	s, err := w.prepare(applied)
	if err != nil {
		return nil, err
	}
	rec, err := w.openAt(s)
	if err != nil {
		return nil, err
	}
	w.notePosition(rec)
	w.saved.start = s.start
	w.noteOpened(s)
	return rec, nil
}

// prepare checks the log and makes it fit to be opened, while nobody else can.
func (w *WAL) prepare(applied uint64) (*scanned, error) {
	all, err := segments(w.opts.WALDir)
	if err != nil {
		return nil, err
	}
	tail, err := fileutil.TryLockFile(all[len(all)-1].path, os.O_RDWR, fileutil.PrivateFileMode)
	if err != nil {
		return nil, w.openError(err)
	}
	s, err := scan(all, applied)
	if err == nil && s.tear != nil {
		err = w.cutTail(tail.File, s.tear)
	}
	if err == nil {
		err = removeUnused(w.opts.WALDir)
	}
	if err == nil {
		err = os.MkdirAll(w.opts.SnapDir, fileutil.PrivateDirMode)
	}
	return s, errors.Join(err, tail.Close())
}

// removeUnused removes files prepared for the next segment. The wal package would use them again as they are,
// and one that a crash left half begun must not be continued.
func removeUnused(dir string) error {
	unused, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return err
	}
	for _, path := range unused {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove an unused segment: %w", err)
		}
	}
	return nil
}

func (w *WAL) create(id Identity) (*Recovered, error) {
	// The wal package puts a new directory in the place of this one.
	if there, err := os.ReadDir(w.opts.WALDir); len(there) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s holds %d files and no write-ahead log", w.opts.WALDir, len(there)), err)
	}
	for _, dir := range []string{filepath.Dir(w.opts.WALDir), w.opts.SnapDir} {
		if err := os.MkdirAll(dir, fileutil.PrivateDirMode); err != nil {
			return nil, fmt.Errorf("create data directory: %w", err)
		}
	}
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: new(id.MemberID), ClusterID: new(id.ClusterID)})
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	w.wal, err = wal.Create(w.log, w.opts.WALDir, metadata)
	if err != nil {
		return nil, fmt.Errorf("create write-ahead log in %s: %w", w.opts.WALDir, err)
	}
	if w.opts.UnsafeNoFsync {
		w.wal.SetUnsafeNoFsync()
	}
	s, err := scanCreated(w.opts.WALDir)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	rec := &Recovered{Identity: id, Snapshot: new(raftpb.SnapshotMetadata), HardState: new(raftpb.HardState)}
	w.notePosition(rec)
	w.saved.start = s.start
	w.noteOpened(s)
	return rec, nil
}

// scanCreated finds where a log ends that was just created. It does not look at the room that the segment has been
// given: with it in the page cache, in folios of up to 2 MB, each small write would dirty a whole one.
func scanCreated(dir string) (*scanned, error) {
	all, err := segments(dir)
	if err != nil {
		return nil, err
	}
	b, unmap, err := mapFile(all[0].path)
	if err != nil {
		return nil, err
	}
	end := scanSegment(b).good
	return &scanned{start: new(walpb.Snapshot), end: fileEnd{all[0].seq, end}}, unmap()
}

// openAt opens the segments from start on for writing and reads them.
func (w *WAL) openAt(s *scanned) (*Recovered, error) {
	start := s.start
	opened, err := wal.Open(w.log, w.opts.WALDir, start)
	if err != nil {
		return nil, w.openError(err)
	}
	if w.opts.UnsafeNoFsync {
		opened.SetUnsafeNoFsync()
	}
	metadata, state, entries, err := opened.ReadAll()
	if err == nil {
		// What a process wrote that ended before it synced may be in the kernel's cache only, and counts from here on.
		err = opened.Sync()
	}
	if err != nil {
		return nil, errors.Join(w.openError(err), opened.Close())
	}
	id, err := decodeIdentity(metadata)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write-ahead log %s: %w", w.opts.WALDir, err), opened.Close())
	}
	w.wal = opened
	first := slices.IndexFunc(entries, func(e *raftpb.Entry) bool { return e.GetIndex() > s.last })
	if first >= 0 {
		entries = entries[:first:first]
	}
	state = raised(state, entries)
	return &Recovered{
		Identity: id,
		Snapshot: &raftpb.SnapshotMetadata{
			Index: new(start.GetIndex()), Term: new(start.GetTerm()), ConfState: start.GetConfState(),
		},
		HardState: state,
		Entries:   entries,
	}, nil
}

// raised returns state with the term of the newest entry, if that is higher: a write that brought both was torn between
// them. This member cannot have voted in that term, as it would have saved that before it said so. And its log must
// not go on with the term before, which would look like damage.
func raised(state *raftpb.HardState, entries []*raftpb.Entry) *raftpb.HardState {
	if n := len(entries); n > 0 && entries[n-1].GetTerm() > state.GetTerm() {
		return &raftpb.HardState{Term: new(entries[n-1].GetTerm()), Vote: new(uint64(0)), Commit: new(state.GetCommit())}
	}
	return state
}

func (w *WAL) openError(err error) error {
	if errors.Is(err, fileutil.ErrLocked) {
		return fmt.Errorf("write-ahead log %s: %w", w.opts.WALDir, ErrHeld)
	}
	return fmt.Errorf("read write-ahead log %s: %w", w.opts.WALDir, err)
}

// notePosition notes what an opened log holds.
func (w *WAL) notePosition(rec *Recovered) {
	w.saved.identity = rec.Identity
	w.saved.index, w.saved.term = rec.Snapshot.GetIndex(), rec.Snapshot.GetTerm()
	if n := len(rec.Entries); n > 0 {
		w.saved.index, w.saved.term = rec.Entries[n-1].GetIndex(), rec.Entries[n-1].GetTerm()
	}
	w.saved.state, w.again = rec.HardState, rec.HardState
}

// noteOpened notes where records are going to be written.
func (w *WAL) noteOpened(s *scanned) {
	w.saved.marked, w.saved.stated = s.end, false
	w.saved.records, w.written = 0, 0
}

// Save appends entries and then state and returns when they are durable.
func (w *WAL) Save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.save(state, entries)
}

func (w *WAL) save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	// The wal package syncs when there is more than a new commit index.
	synced := len(entries) > 0 || !raft.IsEmptyHardState(state) &&
		(state.GetTerm() != w.saved.state.GetTerm() || state.GetVote() != w.saved.state.GetVote())
	if err := w.append(state, entries); err != nil {
		return err
	}
	if !raft.IsEmptyHardState(state) {
		w.saved.state = state
	}
	if n := len(entries); n > 0 {
		w.saved.index, w.saved.term = entries[n-1].GetIndex(), entries[n-1].GetTerm()
	}
	if synced {
		w.saved.records = w.written
	}
	return nil
}

// append writes records. Whether they are synced is for the caller to know, and to note as saved.
func (w *WAL) append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := w.usable(); err != nil {
		return err
	}
	if raft.IsEmptyHardState(state) {
		state = w.again
	}
	if err := w.wal.Save(state, entries); err != nil {
		return w.writeFailed(err)
	}
	w.again = nil
	w.written += len(entries)
	if !raft.IsEmptyHardState(state) {
		w.written++
	}
	return nil
}

// appendSnapshot writes a snapshot's record and syncs.
func (w *WAL) appendSnapshot(record *walpb.Snapshot) error {
	if err := w.usable(); err != nil {
		return err
	}
	if err := w.wal.SaveSnapshot(record); err != nil {
		return w.writeFailed(err)
	}
	w.written++
	return nil
}

// usable returns why nothing can be written now, or at all.
func (w *WAL) usable() error {
	if w.lost == nil && w.broken {
		return fmt.Errorf("write-ahead log: an earlier write failed: %w", ErrNotSaved)
	}
	return w.lost
}

// writeFailed tells failures that may pass from those that may not. A sync that fails, other than for want of
// space, is final: the kernel may have dropped what it could not write and will not say so again. So it is
// remembered, whoever was told.
func (w *WAL) writeFailed(err error) error {
	w.broken = true
	var pathErr *fs.PathError
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if full || errors.Is(err, syscall.EIO) && errors.As(err, &pathErr) && pathErr.Op == "write" {
		return fmt.Errorf("write-ahead log: %w: %w", ErrNotSaved, err)
	}
	return w.lose(fmt.Errorf("write-ahead log: %w", err))
}

// lose notes that nothing can be saved any more, and why.
func (w *WAL) lose(err error) error {
	w.broken, w.lost = true, err
	return err
}

// SaveSnapshot records a snapshot and lets go of what is not needed after it.
func (w *WAL) SaveSnapshot(s *raftpb.Snapshot) error {
	// The file comes first: etcd takes a record for a promise that there is one. It needs no lock.
	if err := w.snap.SaveSnap(s); err != nil {
		return fmt.Errorf("write snapshot file: %w: %w", ErrNotSaved, err)
	}
	if err := w.recordSnapshot(s.GetMetadata()); err != nil {
		return err
	}
	err := errors.Join(
		purge(w.log, w.opts.WALDir, ".wal", w.opts.MaxWALs),
		purge(w.log, w.opts.SnapDir, ".snap", w.opts.MaxSnapshots),
	)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotPurged, err)
	}
	return nil
}

func (w *WAL) recordSnapshot(m *raftpb.SnapshotMetadata) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Readers ignore a snapshot that is ahead of the commit index, which is saved lazily.
	if w.saved.state.GetCommit() < m.GetIndex() {
		state := &raftpb.HardState{
			Term: new(w.saved.state.GetTerm()), Vote: new(w.saved.state.GetVote()), Commit: new(m.GetIndex()),
		}
		if err := w.save(state, nil); err != nil {
			return err
		}
	}
	record := recordOf(m)
	if err := w.appendSnapshot(record); err != nil {
		return err
	}
	w.saved.start, w.saved.records = record, w.written
	// Only what is before the mark may go.
	if err := w.mark(); err != nil {
		return fmt.Errorf("write-ahead log: %w: %w", ErrNotPurged, err)
	}
	return w.release(m.GetIndex())
}

// release lets go of the segments that are not needed after a snapshot.
func (w *WAL) release(index uint64) error {
	if err := w.wal.ReleaseLockTo(index); err != nil {
		return w.lose(fmt.Errorf("write-ahead log: release segments: %w", err))
	}
	return nil
}

// SaveReceived records a snapshot that another member sent and then state: the log begins anew after it. In this
// order, because a record ahead of the commit index counts for nothing, while a commit index without
// entries or record would be a log that lacks what it promised.
func (w *WAL) SaveReceived(s *raftpb.Snapshot, state *raftpb.HardState) error {
	if err := w.snap.SaveSnap(s); err != nil {
		return fmt.Errorf("write snapshot file: %w: %w", ErrNotSaved, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	m := s.GetMetadata()
	record := recordOf(m)
	if err := w.appendSnapshot(record); err != nil {
		return err
	}
	if err := w.append(state, nil); err != nil {
		return err
	}
	// A state that only commits is not synced by itself.
	if err := w.wal.Sync(); err != nil {
		return w.writeFailed(err)
	}
	// All of it counts, or nothing: Reopen takes back what is not noted here.
	w.saved.start, w.saved.index, w.saved.term = record, m.GetIndex(), m.GetTerm()
	w.saved.records = w.written
	if !raft.IsEmptyHardState(state) {
		w.saved.state = state
	}
	return w.release(m.GetIndex())
}

func recordOf(m *raftpb.SnapshotMetadata) *walpb.Snapshot {
	return &walpb.Snapshot{Index: new(m.GetIndex()), Term: new(m.GetTerm()), ConfState: m.GetConfState()}
}

// FreeBytes returns the space that the log's file system has for this process.
func (w *WAL) FreeBytes() (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(w.opts.WALDir, &s); err != nil {
		return 0, fmt.Errorf("space left in %s: %w", w.opts.WALDir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// Close syncs the log and lets go of it.
func (w *WAL) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wal == nil {
		return nil
	}
	err := w.close()
	if w.broken {
		return nil // what the failed write left behind is nobody's
	}
	return err
}

// close closes the segments. The wal package gives up halfway when it cannot write what it has buffered, which
// it then has dropped: a second attempt closes the rest.
func (w *WAL) close() error {
	err := w.wal.Close()
	if err != nil && w.broken {
		err = w.wal.Close()
	}
	w.wal = nil
	return err
}
