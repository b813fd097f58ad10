// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// fuzzBuckets are those of etcd's file.
var fuzzBuckets = []string{
	"key", "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles",
}

// goodBackend is a file of etcd's with a row in each bucket that is asked for.
func goodBackend(t testing.TB, rows map[string][2][]byte) []byte {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096, NoSync: true, InitialMmapSize: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range fuzzBuckets {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			row, ok := rows[name]
			if ok && len(row[0]) > 0 && len(row[0]) < bbolt.MaxKeySize {
				if err := b.Put(row[0], row[1]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// importFile imports a file: any error will do. What it made of one without any is a database.
func importFile(t *testing.T, content []byte) {
	dir := t.TempDir()
	path, into := filepath.Join(dir, "db"), filepath.Join(dir, "keelson.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if backend.Import(t.Context(), path, sqldb.Options{Path: into, Clock: systemClock{}}) != nil {
		return
	}
	if _, err := sqldb.Verify(t.Context(), into, func(sqldb.RowMeta) error { return nil }); err != nil {
		t.Fatalf("imported, but %v", err)
	}
}

// FuzzDamagedBackend imports an etcd's file of which some bytes are changed.
func FuzzDamagedBackend(f *testing.F) {
	good := goodBackend(f, map[string][2][]byte{
		"key": {append(append(make([]byte, 7), 2, '_'), make([]byte, 8)...), []byte{10, 1, 'k', 16, 2, 24, 2, 32, 1, 42, 1, 'v'}},
	})
	for _, at := range []uint32{0, 16, 24, 4096, 8192, 8200, 12288, 16384 + 16} {
		f.Add(at, []byte{255, 255, 255, 255})
		f.Add(at, make([]byte, 64))
	}
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		content := bytes.Clone(good)
		copy(content[int(at)%len(good):], over)
		importFile(t, content)
	})
}

// FuzzBackendRow imports an etcd's file with any row in any bucket.
func FuzzBackendRow(f *testing.F) {
	for i := range fuzzBuckets {
		f.Add(uint8(i), []byte("0000000000000002_00000000"), []byte("{"))
		f.Add(uint8(i), []byte("ffffffffffffffff"), []byte(`{"id":1}`))
		f.Add(uint8(i), append(append(make([]byte, 7), 2, '_'), make([]byte, 8)...), []byte{10, 1, 'k', 16, 2, 24, 2, 32, 1, 42, 1, 'v'})
	}
	for _, key := range []string{"consistent_index", "term", "confState", "scheduledCompactRev", "finishedCompactRev", "storageVersion"} {
		f.Add(uint8(1), []byte(key), bytes.Repeat([]byte{255}, 17))
		f.Add(uint8(1), []byte(key), []byte(`{"voters":[1]}`))
	}
	f.Fuzz(func(t *testing.T, bucket uint8, key, value []byte) {
		importFile(t, goodBackend(t, map[string][2][]byte{fuzzBuckets[int(bucket)%len(fuzzBuckets)]: {key, value}}))
	})
}
