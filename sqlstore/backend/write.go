// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"go.etcd.io/bbolt"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// Defaults of Options.
const (
	DefaultTxBytes      = 8 << 20
	DefaultReserveBytes = 128 << 20
)

// Options of Write. Zero fields take the defaults above; Dir has none.
type Options struct {
	// Dir is on the file system that takes the file.
	Dir string
	// TxBytes is about how much history one transaction of bbolt holds, in memory.
	TxBytes int
	// ReserveBytes of the file system are left to others: the log accepts nothing
	// when it is too short of space.
	ReserveBytes uint64
}

// ErrNoSpace says that the file does not fit on its file system.
var ErrNoSpace = errors.New("backend: not enough disk space for the file")

// File is a written file, from its first byte to its last. It has no name.
type File struct {
	io.Reader
	// Size is how many bytes Read gives.
	Size int64
	// StorageVersion is what etcd calls the schema; empty before the cluster has
	// agreed on a version, and below 3.6.
	StorageVersion string
	f              *os.File
}

// Close gives the space back.
func (f *File) Close() error { return f.f.Close() }

// fillPercent is how full pages get, as etcd fills those of its history.
const fillPercent = 0.9

// Write writes all that cp has. Errors: ctx's, those of cp, ErrNoSpace, or one of the
// file system.
func Write(ctx context.Context, cp *sqldb.Copy, o Options) (*File, error) {
	if o.TxBytes == 0 {
		o.TxBytes = DefaultTxBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = DefaultReserveBytes
	}
	w, err := create(o)
	if err != nil {
		return nil, noSpace(err)
	}
	err = w.fill(ctx, cp)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return nil, noSpace(errors.Join(err, w.db.Close(), w.f.Close()))
	}
	return w.result, nil
}

// noSpace marks the errors of a full disk.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// writer fills a file.
type writer struct {
	opts   Options
	db     *bbolt.DB
	f      *os.File // the same file
	space  []byte   // of the values of one transaction
	result *File
}

// create opens a new bbolt file that has no name.
func create(o Options) (*writer, error) {
	f, err := os.CreateTemp(o.Dir, "backend-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("backend: %w", err), f.Close())
	}
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return duplicate(f) },
		NoSync:   true, NoGrowSync: true, // there is nothing to be found after a crash
		NoFreelistSync: true, // as etcd's
		NoStatistics:   true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("backend: %w", err), f.Close())
	}
	return &writer{opts: o, db: db, f: f, result: &File{f: f}}, nil
}

// duplicate opens an open file again.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// fill writes everything.
func (w *writer) fill(ctx context.Context, cp *sqldb.Copy) error {
	rest, err := pairsOf(&cp.State)
	if err != nil {
		return err
	}
	if err := w.update(ctx, func(tx *bbolt.Tx) error { return w.putPairs(tx, rest) }); err != nil {
		return err
	}
	for more := true; more; {
		err := w.update(ctx, func(tx *bbolt.Tx) (err error) {
			more, err = w.putRows(tx, cp)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// update runs fn in a transaction, if there is space for one.
func (w *writer) update(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	if err := errors.Join(ctx.Err(), w.checkSpace()); err != nil {
		return err
	}
	if err := guarded(func() error { return w.db.Update(fn) }); err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	return nil
}

// putPairs makes the buckets and fills all but the history's.
func (w *writer) putPairs(tx *bbolt.Tx, rest pairs) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	for _, p := range rest {
		if err := tx.Bucket([]byte(p.bucket)).Put(p.key, p.value); err != nil {
			return fmt.Errorf("bucket %s, key %q: %w", p.bucket, p.key, err)
		}
		if p.bucket == metaBucket && string(p.key) == storageVersionKey {
			w.result.StorageVersion = string(p.value)
		}
	}
	return nil
}

// putRows writes a transaction's worth of rows and says whether there are more.
func (w *writer) putRows(tx *bbolt.Tx, cp *sqldb.Copy) (more bool, err error) {
	history := tx.Bucket([]byte(keyBucket))
	history.FillPercent = fillPercent
	for w.space = w.space[:0]; len(w.space) < w.opts.TxBytes; {
		r, err := cp.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := history.Put(keyOf(r), w.valueOf(r)); err != nil {
			return false, fmt.Errorf("revision %d: %w", r.Revision, err)
		}
	}
	return true, nil
}

// keyOf is a row's key in etcd's history.
func keyOf(r sqldb.Row) []byte {
	key := appendRevision(make([]byte, 0, 18), r.Revision, r.Sub)
	if r.Tombstone {
		key = append(key, tombstoneMark)
	}
	return key
}

// valueOf is a row's value in etcd's history. bbolt refers to it until the commit.
func (w *writer) valueOf(r sqldb.Row) []byte {
	kv := wire.KeyValue{Key: r.Key}
	if !r.Tombstone {
		kv.Value, kv.CreateRevision, kv.ModRevision = r.Value, r.CreateRevision, r.Revision
		kv.Version, kv.Lease = r.Version, r.Lease
	}
	start := len(w.space)
	w.space = wire.AppendKeyValue(w.space, kv)
	return w.space[start:len(w.space):len(w.space)]
}

// checkSpace says whether another transaction may be written.
func (w *writer) checkSpace() error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(w.opts.Dir, &s); err != nil {
		return fmt.Errorf("backend: free space: %w", err)
	}
	free, need := s.Bavail*uint64(s.Bsize), w.opts.ReserveBytes+uint64(w.opts.TxBytes)
	if free < need {
		return fmt.Errorf("%w: %d bytes are free, and %d must be", ErrNoSpace, free, need)
	}
	return nil
}

// finish closes the database, and gives its file a reader.
func (w *writer) finish() error {
	err := w.db.View(func(tx *bbolt.Tx) error {
		w.result.Size = tx.Size()
		return nil
	})
	if err == nil {
		err = w.db.Close()
	}
	if err == nil {
		// Its last pages may be free ones, which were never written.
		err = w.f.Truncate(w.result.Size)
	}
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	w.result.Reader = io.NewSectionReader(w.f, 0, w.result.Size)
	return nil
}
