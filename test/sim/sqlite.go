// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
	"keelson.io/keelson/sqlstore/wire"
)

// stillClock stands still: what the database's writer does by the time of day it does only when it is told to, so
// what is in the files depends on the world alone. Only the writer's patience with readers, of whom there are none
// then, is a short real time.
type stillClock struct{}

const patience = 2 * time.Millisecond

func (stillClock) Now() time.Time { return epoch }

func (stillClock) After(d time.Duration) <-chan time.Time {
	if d > commitInterval/2 {
		return nil
	}
	return clockwork.NewRealClock().After(min(d, patience))
}

// commitInterval is longer than any wait that is to end.
const commitInterval = time.Hour

// sqliteDisk is the folder of a real state machine. A crash copies to another folder what it leaves; the store that was
// open is closed and its folder forgotten.
type sqliteDisk struct {
	dir        string
	generation int
	machine    *sqliteMachine // open
	synced     uint64         // applied index of the copy in dir/synced
}

func (d *sqliteDisk) folder() string { return filepath.Join(d.dir, fmt.Sprint(d.generation)) }

func (d *sqliteDisk) syncedFolder() string { return filepath.Join(d.dir, "synced") }

func (d *sqliteDisk) open(n *node, received uint64) (machine, error) {
	if err := os.MkdirAll(d.folder(), 0o700); err != nil {
		return nil, err
	}
	if err := d.finishRestore(received); err != nil {
		return nil, err
	}
	le, err := lessor.New(lessor.Options{}, nil)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.Open(n.world.context, sqlstore.Options{
		DB:      sqldb.Options{Path: d.path(), Clock: stillClock{}, CommitInterval: commitInterval, CheckpointEvery: commitInterval, PageSize: 4096},
		OnLease: etcdapi.ObserveLeases(le),
	})
	if err != nil {
		return nil, err
	}
	d.machine = &sqliteMachine{StateMachine: d.adapter(n, store, le), store: store, node: n, disk: d}
	return d.machine, nil
}

func (d *sqliteDisk) path() string { return filepath.Join(d.folder(), "keelson.db") }

// crash copies what the kind of crash leaves. Rows that the writer was not told to write by now are in no file.
func (d *sqliteDisk) crash(r random, kind crashKind) error {
	from := d.folder()
	if kind == crashPower {
		from = d.syncedFolder()
	} else if d.machine != nil && r.chance(0.5) {
		if _, err := d.machine.hash(); err != nil { // has everything written
			return err
		}
	}
	to := filepath.Join(d.dir, fmt.Sprint(d.generation+1))
	if err := copyFiles(from, to); err != nil {
		return err
	}
	if err := d.close(); err != nil {
		return err
	}
	before := d.folder()
	d.generation++
	return os.RemoveAll(before)
}

// markSynced keeps a copy of the files as they are now.
func (d *sqliteDisk) markSynced(index uint64) error {
	if err := os.RemoveAll(d.syncedFolder()); err != nil {
		return err
	}
	d.synced = index
	return copyFiles(d.folder(), d.syncedFolder())
}

// copyFiles copies a folder's files but the one that SQLite makes anew.
func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), "-shm") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, f.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (d *sqliteDisk) durable() uint64 { return d.synced }

func (d *sqliteDisk) close() error {
	if d.machine == nil {
		return nil
	}
	m := d.machine
	d.machine = nil
	return m.store.Close(context.Background())
}

// sqliteMachine is the real state machine, observed.
type sqliteMachine struct {
	*etcdapi.StateMachine
	store *sqlstore.Store
	node  *node
	disk  *sqliteDisk
}

// Apply implements raftlog.StateMachine.
func (m *sqliteMachine) Apply(entries []raftlog.Entry) []raftlog.Result {
	results := m.StateMachine.Apply(entries)
	if err := m.Err(); err != nil {
		m.node.world.failf("n%d: the store: %w", m.node.id, err)
		return nil
	}
	for i, e := range entries {
		m.node.world.history.applied(m.node, e, m.outcome(results[i].Value), 0)
	}
	return results
}

// ApplyEmpty implements raftlog.StateMachine.
func (m *sqliteMachine) ApplyEmpty(index, term uint64) {
	m.StateMachine.ApplyEmpty(index, term)
	m.node.world.history.appliedEmpty(m.node, index, term, 0)
}

// ApplyConfChange implements raftlog.StateMachine.
func (m *sqliteMachine) ApplyConfChange(change raftlog.ConfChange, conf *raftpb.ConfState) error {
	if err := m.StateMachine.ApplyConfChange(change, conf); err != nil {
		return err
	}
	m.node.world.history.appliedConf(m.node, change, conf, 0)
	return nil
}

// Persist implements raftlog.StateMachine.
func (m *sqliteMachine) Persist(ctx context.Context) (uint64, error) {
	index, err := m.StateMachine.Persist(ctx)
	if err != nil {
		return 0, err
	}
	return index, m.disk.markSynced(index)
}

// outcome translates the store's outcome.
func (m *sqliteMachine) outcome(value any) outcome {
	got, ok := value.(*sqlstore.Outcome)
	if !ok {
		return outcome{} // a change of membership
	}
	o := outcome{id: got.ID, rev: got.Revision, failed: got.Err != nil}
	switch r := got.Response.(type) {
	case *wire.DeleteRangeResponse:
		o.deleted = r.Deleted
	case *wire.TxnResponse:
		o.ok = r.Succeeded
		for _, op := range r.Responses {
			if op.DeleteRange != nil {
				o.deleted += op.DeleteRange.Deleted
			}
			if op.Range != nil {
				o.read += m.describeRange(op.Range)
			}
		}
	}
	return o
}

// describeRange is describe for the answer to the read of one key, the failed branch of a swap; that answer does not
// name a key that is not there.
func (m *sqliteMachine) describeRange(r *wire.RangeResponse) string {
	if len(r.KVs) == 0 {
		return "none;"
	}
	kv, err := wire.ParseKeyValue(r.KVs[0])
	if err != nil {
		m.node.world.failf("n%d: a key-value of the store: %w", m.node.id, err)
	}
	return describe(string(kv.Key), item{Value: string(kv.Value), Mod: kv.ModRevision})
}

func (m *sqliteMachine) read(key string) (item, int64, error) {
	r, err := m.store.Range(m.node.world.context, &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		return item{}, 0, err
	}
	if len(r.KVs) == 0 {
		return item{}, r.Header.Revision, nil
	}
	kv, err := wire.ParseKeyValue(r.KVs[0])
	return item{Value: string(kv.Value), Create: kv.CreateRevision, Mod: kv.ModRevision, Version: kv.Version, Lease: kv.Lease}, r.Header.Revision, err
}

func (m *sqliteMachine) hash() (uint64, error) {
	h, err := m.store.HashKV(m.node.world.context, 0)
	return mix(uint64(h.Hash), uint64(h.CompactRevision), uint64(h.Current)), err
}
