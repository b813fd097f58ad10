// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// ErrDamaged says that a file is a bbolt database, but no backend that can be read.
var ErrDamaged = errors.New("backend: the file is damaged")

// magic is what a bbolt file has after the header of its first page, as its meta
// page's magic number; the machine's byte order is little endian wherever etcd runs.
var magic = []byte{0xed, 0xda, 0x0c, 0xed}

const pageHeaderBytes = 16

// IsBackend says whether the file at path is a bbolt database.
func IsBackend(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	head := make([]byte, pageHeaderBytes+len(magic))
	_, err = io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // too short for anything
	}
	return bytes.Equal(head[pageHeaderBytes:], magic), errors.Join(err, f.Close())
}

// Import makes a keelson database, which does not exist yet, of the backend file at
// path. It is durable, and one file, when Import returns. After an error there may be
// a part of it. Errors: ctx's, ErrDamaged, or one of the file system; a full one is
// not waited for.
func Import(ctx context.Context, path string, o sqldb.Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.OnError = func(err error) {
		if err != nil {
			cancel(err)
		}
	}
	db, err := sqldb.Open(ctx, o)
	if err != nil {
		return err
	}
	// A write waits for space, unless the database is being closed.
	closeDB := sync.OnceValue(func() error { return db.Close(ctx) })
	defer context.AfterFunc(ctx, func() { _ = closeDB() })() // the call below has its error, too
	i := &importer{ctx: ctx, db: db}
	err = errors.Join(view(path, i.read), closeDB())
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("backend: %w", cause)
	}
	return err
}

// view runs fn on a transaction of the file at path. bbolt trusts its files: a damaged
// one makes it panic, or read where nothing is mapped.
func view(path string, fn func(tx *bbolt.Tx) error) error {
	return guarded(func() error { return viewTrusted(path, fn) })
}

// guarded makes errors of what a mapped file that can't be read does to fn.
func guarded(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return fn()
}

func viewTrusted(path string, fn func(tx *bbolt.Tx) error) (err error) {
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true, NoStatistics: true})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: it has %d bytes and should have %d", ErrDamaged, info.Size(), tx.Size())
		}
		return fn(tx)
	})
}

// Bounds of a batch of rows.
const (
	batchRows  = 1000
	batchBytes = 1 << 20
)

// importer fills a database from a backend file.
type importer struct {
	ctx   context.Context
	db    *sqldb.DB
	batch *sqldb.Batch
	seq   int64
	bytes int
}

// read reads everything. The last batch says how far the log is applied.
func (i *importer) read(tx *bbolt.Tx) error {
	for _, name := range allBuckets {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: it has no bucket %s", ErrDamaged, name)
		}
	}
	i.batch = &sqldb.Batch{Revision: 1} // of an empty store
	if err := tx.Bucket([]byte(keyBucket)).ForEach(i.readRow); err != nil {
		return err
	}
	for _, part := range []struct {
		bucket string
		read   func(k, v []byte) error
	}{
		{metaBucket, i.readMeta}, {leaseBucket, i.readLease}, {alarmBucket, i.readAlarm}, {clusterBucket, i.readCluster},
		{membersBucket, i.readMember}, {membersRemovedBucket, i.readRemoved},
		{authBucket, i.readAuth}, {authUsersBucket, i.readUser}, {authRolesBucket, i.readRole},
	} {
		if err := tx.Bucket([]byte(part.bucket)).ForEach(part.read); err != nil {
			return fmt.Errorf("bucket %s: %w", part.bucket, err)
		}
	}
	return i.flush()
}

// flush hands the batch to the database and begins another.
func (i *importer) flush() error {
	if err := i.ctx.Err(); err != nil {
		return err
	}
	if err := i.db.Write(i.batch); err != nil {
		return err
	}
	i.batch, i.bytes = &sqldb.Batch{Revision: i.batch.Revision}, 0
	return nil
}

// readRow reads one write of the history.
func (i *importer) readRow(k, v []byte) error {
	revision, sub, tombstone, err := parseRevision(k)
	if err != nil {
		return err
	}
	// The row outlives the transaction, and so does what it refers to.
	kv, err := wire.ParseKeyValue(bytes.Clone(v))
	if err != nil {
		return fmt.Errorf("%w: revision %d: %w", ErrDamaged, revision, err)
	}
	if !tombstone && (len(kv.Key) == 0 || kv.ModRevision != revision) {
		return fmt.Errorf("backend: revision %d is no write of a key, as after a restore with --bump-revision", revision)
	}
	i.seq++
	row := sqldb.Row{Seq: i.seq, Revision: revision, Sub: sub, Key: kv.Key, Tombstone: tombstone}
	if !tombstone {
		row.CreateRevision, row.Version, row.Lease, row.Value = kv.CreateRevision, kv.Version, kv.Lease, notNil(kv.Value)
	}
	i.batch.Rows = append(i.batch.Rows, row)
	i.batch.Revision = max(i.batch.Revision, revision)
	if i.bytes += len(v); len(i.batch.Rows) < batchRows && i.bytes < batchBytes {
		return nil
	}
	return i.flush()
}

// parseRevision reads the key of a write: the inverse of keyOf.
func parseRevision(k []byte) (revision, sub int64, tombstone bool, err error) {
	const length = 8 + 1 + 8
	if tombstone = len(k) == length+1 && k[length] == tombstoneMark; len(k) != length && !tombstone {
		return 0, 0, false, fmt.Errorf("%w: %x is no revision", ErrDamaged, k)
	}
	return int64(binary.BigEndian.Uint64(k)), int64(binary.BigEndian.Uint64(k[9:])), tombstone, nil
}

// notNil keeps an empty value from being none.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (i *importer) set(s sqldb.Setting) { i.batch.Settings = append(i.batch.Settings, s) }

// readMeta reads how far the state is.
func (i *importer) readMeta(k, v []byte) error {
	number := func() (uint64, error) {
		if len(v) < 8 {
			return 0, fmt.Errorf("%w: %s is %x", ErrDamaged, k, v)
		}
		return binary.BigEndian.Uint64(v), nil
	}
	var err error
	switch string(k) {
	case consistentIndexKey:
		i.batch.AppliedIndex, err = number()
	case termKey:
		i.batch.AppliedTerm, err = number()
	case scheduledCompactKey, finishedCompactKey:
		name := sqldb.SettingCompactScheduled
		if string(k) == finishedCompactKey {
			name = sqldb.SettingCompactFinished
		}
		var revision uint64
		revision, err = number()
		i.set(sqldb.Setting{Name: name, Int: int64(revision)})
		i.batch.Revision = max(i.batch.Revision, int64(revision))
	case confStateKey:
		conf := new(raftpb.ConfState)
		if err := json.Unmarshal(v, conf); err != nil {
			return fmt.Errorf("%w: configuration: %w", ErrDamaged, err)
		}
		var blob []byte
		blob, err = proto.MarshalOptions{Deterministic: true}.Marshal(conf)
		i.set(sqldb.Setting{Name: sqldb.SettingConfState, Blob: blob})
	}
	return err
}

func (i *importer) readLease(_, v []byte) error {
	l := new(leasepb.Lease)
	if err := proto.Unmarshal(v, l); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i.batch.Leases = append(i.batch.Leases, sqldb.LeaseChange{Lease: sqldb.Lease{ID: l.ID, TTL: l.TTL, Remaining: l.RemainingTTL}})
	return nil
}

func (i *importer) readAlarm(k, _ []byte) error {
	a := new(pb.AlarmMember)
	if err := proto.Unmarshal(k, a); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i.batch.Alarms = append(i.batch.Alarms, sqldb.AlarmChange{Alarm: sqldb.Alarm{MemberID: a.MemberID, Kind: a.Alarm.String()}})
	return nil
}

func (i *importer) readCluster(k, v []byte) error {
	switch string(k) {
	case clusterVersionKey:
		i.set(sqldb.Setting{Name: sqldb.SettingClusterVersion, Text: string(v)})
	case downgradeKey:
		i.set(sqldb.Setting{Name: sqldb.SettingDowngrade, Text: string(v)})
	}
	return nil
}

func (i *importer) readMember(k, v []byte) error {
	return i.member(k, sqldb.Member{JSON: bytes.Clone(v)})
}

func (i *importer) readRemoved(k, _ []byte) error { return i.member(k, sqldb.Member{Removed: true}) }

func (i *importer) member(k []byte, m sqldb.Member) (err error) {
	if m.ID, err = strconv.ParseUint(string(k), 16, 64); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i.batch.Members = append(i.batch.Members, sqldb.MemberChange{Member: m})
	return nil
}
