// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// systemClock is the machine's.
type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// open opens a database that is closed with the test.
func open(t testing.TB, path string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Options{Path: path, Clock: systemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.Background()); err != nil && !errors.Is(err, sqldb.ErrClosed) {
			t.Error(err)
		}
	})
	return db
}

// filled returns a copy of a database with n rows of 1 KiB, every tenth a deletion.
func filled(t *testing.T, n int) (*sqldb.DB, *sqldb.Copy) {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "keelson.db"))
	for i := range int64(n) {
		row := sqldb.Row{Seq: i + 1, Revision: i + 2, Key: fmt.Appendf(nil, "key-%d", i%100), Tombstone: i%10 == 9}
		if !row.Tombstone {
			row.CreateRevision, row.Version, row.Value = 2, i/100+1, bytes.Repeat([]byte{byte(i)}, 1<<10)
		}
		if err := db.Write(&sqldb.Batch{Rows: []sqldb.Row{row}, AppliedIndex: uint64(i + 1), AppliedTerm: 3, Revision: i + 2}); err != nil {
			t.Fatal(err)
		}
	}
	cp, err := db.Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, cp
}

// wantEmpty checks that a directory has no files.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

// Many transactions make one history, in order, whose pages are all right.
func TestWrite(t *testing.T) {
	const rows = 3000
	_, cp := filled(t, rows)
	dir := t.TempDir()
	f, err := backend.Write(t.Context(), cp, backend.Options{Dir: dir, TxBytes: 10_000, ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, dir)
	path := filepath.Join(t.TempDir(), "db")
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close(), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != f.Size {
		t.Errorf("%d bytes, and %d were told", len(data), f.Size)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		if got := tx.Bucket([]byte("meta")).Get([]byte("consistent_index")); binary.BigEndian.Uint64(got) != rows {
			t.Errorf("index %x, want %d", got, rows)
		}
		revision := int64(1)
		return tx.Bucket([]byte("key")).ForEach(func(k, v []byte) error {
			revision++
			var kv mvccpb.KeyValue
			if err := proto.Unmarshal(v, &kv); err != nil {
				return err
			}
			deleted := (revision-2)%10 == 9
			if int64(binary.BigEndian.Uint64(k)) != revision || bytes.HasSuffix(k, []byte("t")) != deleted || !deleted && kv.ModRevision != revision {
				return fmt.Errorf("revision %d is %x, %v", revision, k, kv.ModRevision)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// A file that does not fit leaves nothing, whether the reserve says so or the disk.
func TestNoSpace(t *testing.T) {
	for name, o := range map[string]backend.Options{
		"reserve": {TxBytes: 1 << 20, ReserveBytes: 3 << 20},
		"disk":    {TxBytes: 15500 << 10, ReserveBytes: 1}, // with its pages, a transaction is larger than it says
	} {
		t.Run(name, func(t *testing.T) {
			_, cp := filled(t, 20_000)
			dir := smallDisk(t)
			before := freeBytes(t, dir)
			o.Dir = dir
			_, err := backend.Write(t.Context(), cp, o)
			if !errors.Is(err, backend.ErrNoSpace) || (name == "disk") != errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error %v", err)
			}
			wantEmpty(t, dir)
			if after := freeBytes(t, dir); after != before {
				t.Errorf("%d bytes are free, %d were", after, before)
			}
		})
	}
}

// smallDisk mounts a file system of 16 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("can't mount a small file system (it takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func freeBytes(t *testing.T, dir string) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bfree * uint64(s.Bsize)
}

// Who gives up, or loses the copy, gets no file.
func TestWriteEnds(t *testing.T) {
	_, cp := filled(t, 100)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := backend.Write(ctx, cp, backend.Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := cp.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := backend.Write(t.Context(), cp, backend.Options{Dir: dir}); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, dir)
}

// What etcd has no form for is told.
func TestWriteRefuses(t *testing.T) {
	for want, b := range map[string]*sqldb.Batch{
		"cluster version": {Settings: []sqldb.Setting{{Name: sqldb.SettingClusterVersion, Text: "new"}}},
		"configuration":   {Settings: []sqldb.Setting{{Name: sqldb.SettingConfState, Blob: []byte{0xff}}}},
		"unknown kind":    {Alarms: []sqldb.AlarmChange{{Alarm: sqldb.Alarm{MemberID: 1, Kind: "FIRE"}}}},
	} {
		db := open(t, filepath.Join(t.TempDir(), "keelson.db"))
		if err := db.Write(b); err != nil {
			t.Fatal(err)
		}
		cp, err := db.Copy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = backend.Write(t.Context(), cp, backend.Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
	}
}

// saved writes a backend file of a copy and returns its path.
func saved(t *testing.T, cp *sqldb.Copy) string {
	t.Helper()
	f, err := backend.Write(t.Context(), cp, backend.Options{Dir: t.TempDir(), ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close(), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if is, err := backend.IsBackend(path); err != nil || !is {
		t.Errorf("it is none: %v", err)
	}
	return path
}

func importTo(t *testing.T, path string) (string, error) {
	t.Helper()
	made := filepath.Join(t.TempDir(), "keelson.db")
	return made, backend.Import(t.Context(), path, sqldb.Options{Path: made, Clock: systemClock{}})
}

// What was written is read again: rows and all the rest.
func TestImport(t *testing.T) {
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(&raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}})
	if err != nil {
		t.Fatal(err)
	}
	db, _ := filled(t, 3000)
	err = db.Write(&sqldb.Batch{
		Rows:    []sqldb.Row{{Seq: 3001, Revision: 3002, Sub: 1, Key: []byte{0, 0xff}, CreateRevision: 3002, Version: 1, Lease: 5, Value: []byte{}}},
		Leases:  []sqldb.LeaseChange{{Lease: sqldb.Lease{ID: 5, TTL: 100, Remaining: 50}}, {Lease: sqldb.Lease{ID: 1 << 62, TTL: 7}}},
		Alarms:  []sqldb.AlarmChange{{Alarm: sqldb.Alarm{MemberID: 2, Kind: "NOSPACE"}}},
		Members: []sqldb.MemberChange{{Member: sqldb.Member{ID: 1<<63 + 1, JSON: []byte(`{"id":9223372036854775809}`)}}, {Member: sqldb.Member{ID: 9, Removed: true}}},
		Settings: []sqldb.Setting{
			{Name: sqldb.SettingConfState, Blob: conf}, {Name: sqldb.SettingClusterVersion, Text: "3.7.0"},
			{Name: sqldb.SettingDowngrade, Text: `{"target-version":"3.6.0","enabled":true}`},
			{Name: sqldb.SettingCompactScheduled, Int: 17}, {Name: sqldb.SettingCompactFinished, Int: 11},
		},
		AppliedIndex: 4000, AppliedTerm: 12, Revision: 3002,
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := db.Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err := importTo(t, saved(t, want))
	if err := errors.Join(err, want.Close()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(made + "?*"); err != nil || len(left) > 0 {
		t.Errorf("%v are beside the database: %v", left, err)
	}
	if _, err := sqldb.Verify(t.Context(), made, func(sqldb.RowMeta) error { return nil }); err != nil {
		t.Error(err)
	}
	if want, err = db.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, made).Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.State, got.State); diff != "" {
		t.Error(diff)
	}
	for {
		w, err := want.Next()
		g, gotErr := got.Next()
		if errors.Is(err, io.EOF) && errors.Is(gotErr, io.EOF) {
			break
		}
		if err := errors.Join(err, gotErr); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, g); diff != "" {
			t.Fatal(diff)
		}
	}
	if err := errors.Join(want.Close(), got.Close()); err != nil {
		t.Error(err)
	}
}

// A damaged file is refused, or holds what it holds; it never ends the process.
func TestImportDamaged(t *testing.T) {
	_, cp := filled(t, 500)
	path := saved(t, cp)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(data []byte) error {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := importTo(t, path)
		return err
	}
	for _, size := range []int{0, 100, 4096, 8192, len(whole) / 2, len(whole) - 4096, len(whole) - 1} {
		if err := try(whole[:size]); !errors.Is(err, backend.ErrDamaged) {
			t.Errorf("cut off after %d bytes: %v", size, err)
		}
	}
	refused := 0
	for i := range 60 {
		random := rand.New(rand.NewPCG(uint64(i), 7))
		data := bytes.Clone(whole)
		for range 1 + i {
			// The heads of pages are what bbolt follows.
			at := random.IntN(len(data)/4096)*4096 + random.IntN(64)
			data[at] ^= byte(1 + random.IntN(255))
		}
		if err := try(data); err != nil {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("%d of 60 damaged files are refused", refused)
	}
}

// What a database can't hold is told.
func TestImportRefuses(t *testing.T) {
	db, _ := filled(t, 10)
	for want, change := range map[string]func(tx *bbolt.Tx) error{
		"--bump-revision": func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("key")).Put([]byte("\x00\x00\x00\x00\x00\x01\x00\x00_\x00\x00\x00\x00\x00\x00\x00\x00"), []byte{})
		},
		"is no revision": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("key")).Put([]byte("x"), nil) },
		`user "root"`:    func(tx *bbolt.Tx) error { return tx.Bucket([]byte("authUsers")).Put([]byte("root"), []byte{}) },
		`role "r"`:       func(tx *bbolt.Tx) error { return tx.Bucket([]byte("authRoles")).Put([]byte("r"), []byte{0xff}) },
		"authRevision": func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("auth")).Put([]byte("authRevision"), []byte{1})
		},
		"no bucket lease": func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("lease")) },
	} {
		cp, err := db.Copy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		path := saved(t, cp)
		file, err := bbolt.Open(path, 0o600, nil)
		if err := errors.Join(err, cp.Close()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Update(change), file.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := importTo(t, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// A full disk ends an import, which does not wait for space.
func TestImportOnFullDisk(t *testing.T) {
	_, cp := filled(t, 20_000)
	path, dir := saved(t, cp), smallDisk(t)
	err := backend.Import(t.Context(), path, sqldb.Options{Path: filepath.Join(dir, "keelson.db"), Clock: systemClock{}})
	if err == nil || t.Context().Err() != nil {
		t.Errorf("error %v", err)
	}
	t.Log(err)
}
