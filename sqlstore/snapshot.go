// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// Snapshot is the store's whole content as of one applied entry. All of it is of
// that entry, whatever is applied while Body is read.
type Snapshot struct {
	// Index and Term of the entry.
	Index, Term uint64
	// ConfState is the encoded raftpb.ConfState, nil if none was ever applied.
	ConfState      []byte
	Members        []Member
	Removed        []uint64
	ClusterVersion string
	// StorageVersion is what etcd calls the schema of a Body for etcd.
	StorageVersion string
	// Size is how many bytes Body gives.
	Size int64
	// Body is a keelson database file, or an etcd backend file. It is closed at any
	// time, also beside Read. The former is closed by Close and Restore of the store,
	// too; a Read after that fails.
	Body io.ReadCloser
}

// OpenSnapshot returns a snapshot that holds everything applied before the call.
// Nothing waits for its reader, but until Body is closed the database's -wal file
// grows; so only few are open at once (sqldb's option Copies), and who wants one more
// waits. Errors: ctx's, ErrClosed, or one of the database.
func (s *Store) OpenSnapshot(ctx context.Context) (*Snapshot, error) {
	start := s.opts.DB.Clock.Now()
	var cp *sqldb.Copy
	err := s.db.use(ctx, func(db *sqldb.DB) (err error) {
		cp, err = db.Copy(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	snapshot, err := describe(&cp.State)
	if err != nil {
		_ = cp.Close() // the first error is the one that matters
		return nil, err
	}
	snapshot.Size, snapshot.Body = cp.Size, &snapshotBody{ReadCloser: cp, store: s, start: start}
	return snapshot, nil
}

// describe makes a Snapshot of a state, without its Body.
func describe(state *sqldb.State) (*Snapshot, error) {
	var c clusterState
	if err := c.recover(*state); err != nil {
		return nil, err
	}
	return &Snapshot{
		Index: state.AppliedIndex, Term: state.AppliedTerm,
		ConfState: c.confState, Members: c.memberList(), Removed: c.removedList(), ClusterVersion: c.version,
	}, nil
}

// OpenBackend is OpenSnapshot with a Body that an etcd takes, a file of package
// backend. It is written before OpenBackend returns, beside the database and at the
// speed of the disk, so a slow reader costs space and nothing else. Errors: also
// backend.ErrNoSpace.
func (s *Store) OpenBackend(ctx context.Context) (*Snapshot, error) {
	start := s.opts.DB.Clock.Now()
	for {
		before := s.db.ptr.Load()
		snapshot, err := s.writeBackend(ctx)
		switch {
		case err == nil:
			snapshot.Body = &snapshotBody{ReadCloser: snapshot.Body, store: s, start: start}
			return snapshot, nil
		case s.db.replaced(ctx, before, err):
		case errors.Is(err, sqldb.ErrClosed) && s.ctx.Err() != nil:
			return nil, ErrClosed
		default:
			return nil, err
		}
	}
}

// writeBackend is one attempt of OpenBackend.
func (s *Store) writeBackend(ctx context.Context) (*Snapshot, error) {
	var cp *sqldb.Copy
	err := s.db.use(ctx, func(db *sqldb.DB) (err error) {
		cp, err = db.Copy(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	snapshot, err := describe(&cp.State)
	if err != nil {
		return nil, errors.Join(err, cp.Close())
	}
	file, err := backend.Write(ctx, cp, backend.Options{Dir: filepath.Dir(s.opts.DB.Path)})
	if closeErr := cp.Close(); err == nil && closeErr != nil {
		err = errors.Join(closeErr, file.Close())
	}
	if err != nil {
		return nil, err
	}
	snapshot.Size, snapshot.StorageVersion, snapshot.Body = file.Size, file.StorageVersion, file
	return snapshot, nil
}

// snapshotBody measures how long a snapshot is open.
type snapshotBody struct {
	io.ReadCloser
	store *Store
	start time.Time
	once  sync.Once
}

// Close implements io.Closer.
func (b *snapshotBody) Close() error {
	b.once.Do(func() {
		took := b.store.opts.DB.Clock.Now().Sub(b.start)
		b.store.opts.Metrics.SnapshotDuration.Observe(took.Seconds())
	})
	return b.ReadCloser.Close()
}

// ImportBackend makes a keelson database file, a Snapshot's Body, of the etcd backend
// file at file, in its place. After an error, or a crash, file is what it was; what is
// beside it then has a name that begins with "tmp".
func ImportBackend(ctx context.Context, file string, clock sqldb.Clock) error {
	made := filepath.Join(filepath.Dir(file), "tmp-"+filepath.Base(file))
	err := backend.Import(ctx, file, sqldb.Options{Path: made, Clock: clock})
	if err == nil {
		return sqldb.Replace(file, made)
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-undo"} {
		if rm := os.Remove(made + suffix); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	return err
}

// VerifySnapshot tells whether file is a Snapshot's Body, whole, of entry index, from which memory can be rebuilt. It
// reads all of it and changes nothing. Errors wrap sqldb.ErrForeignFile,
// sqldb.ErrNewerSchema or sqldb.ErrCorrupt where they apply.
func VerifySnapshot(ctx context.Context, file string, index uint64) error {
	newest := make(map[string]int64) // revision of each key
	state, err := sqldb.Verify(ctx, file, func(r sqldb.RowMeta) error {
		err := ascends(newest[r.Key], &r)
		newest[r.Key] = r.Revision
		return err
	})
	if err != nil {
		return err
	}
	if state.AppliedIndex != index {
		return fmt.Errorf("sqlstore: %s: the snapshot is of entry %d, not of %d", file, state.AppliedIndex, index)
	}
	return understood(state)
}

// understood says why memory can't be rebuilt from what a database holds besides rows.
func understood(state sqldb.State) error {
	return errors.Join(new(clusterState).recover(state), new(AuthTables).recover(state))
}

// takenOver names the file that Restore has begun to put in the place of the database: whoever receives the same
// snapshot again does not find it.
func takenOver(dbPath string) string { return dbPath + "-restore" }

// FinishRestore ends a Restore that a crash cut short, or kept from beginning. It is called before Open with the newest
// snapshot that the log has taken, and the file that was received for it. That file, which must be verified, takes the
// place of the database at dbPath, unless there is none, or the database is not older: then the file came once more
// after the Restore, and is removed.
func FinishRestore(ctx context.Context, dbPath, file string, index uint64) error {
	if err := sqldb.Replace(dbPath, takenOver(dbPath)); err != nil {
		return err
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	applied, err := sqldb.AppliedIndex(ctx, dbPath)
	switch {
	case err == nil && applied >= index:
		return os.Remove(file)
	case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, sqldb.ErrCorrupt):
		return sqldb.Replace(dbPath, file)
	}
	return err
}
