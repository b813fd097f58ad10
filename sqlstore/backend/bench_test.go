// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// benchBytes is how much a benchmark's values are in all.
const benchBytes = 256 << 20

// eachSize runs a benchmark on databases with values of several sizes.
func eachSize(b *testing.B, run func(b *testing.B, db *sqldb.DB)) {
	for _, size := range []int{256, 1 << 10, 8 << 10, 256 << 10} {
		b.Run(fmt.Sprint("value=", size), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "keelson.db"))
			random := rand.NewChaCha8([32]byte{})
			for seq := int64(1); seq <= benchBytes/int64(size); seq++ {
				value := make([]byte, size)
				if _, err := random.Read(value); err != nil {
					b.Fatal(err)
				}
				row := sqldb.Row{
					Seq: seq, Revision: seq + 1, Key: fmt.Appendf(nil, "/registry/pods/default/pod-%08d", seq%10_000),
					CreateRevision: 2, Version: 1, Value: value,
				}
				if err := db.Write(&sqldb.Batch{Rows: []sqldb.Row{row}, AppliedIndex: uint64(seq), AppliedTerm: 1, Revision: seq + 1}); err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(benchBytes)
			run(b, db)
		})
	}
}

// written writes a backend file of a database.
func written(b *testing.B, db *sqldb.DB) *backend.File {
	b.Helper()
	cp, err := db.Copy(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	f, err := backend.Write(b.Context(), cp, backend.Options{Dir: b.TempDir()})
	if err := errors.Join(err, cp.Close()); err != nil {
		b.Fatal(err)
	}
	return f
}

func BenchmarkWrite(b *testing.B) {
	eachSize(b, func(b *testing.B, db *sqldb.DB) {
		for b.Loop() {
			if err := written(b, db).Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkImport(b *testing.B) {
	eachSize(b, func(b *testing.B, db *sqldb.DB) {
		f, path := written(b, db), filepath.Join(b.TempDir(), "db")
		out, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(out, f)
		if err := errors.Join(err, out.Close(), f.Close()); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			made := filepath.Join(b.TempDir(), "keelson.db")
			if err := backend.Import(b.Context(), path, sqldb.Options{Path: made, Clock: systemClock{}}); err != nil {
				b.Fatal(err)
			}
			if err := os.Remove(made); err != nil {
				b.Fatal(err)
			}
		}
	})
}
