// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"keelson.io/keelson/sqlstore/backend"
	"keelson.io/keelson/sqlstore/sqldb"
)

// BenchmarkWrite writes a file of about 256 MiB, in values of several sizes.
func BenchmarkWrite(b *testing.B) {
	const total = 256 << 20
	for _, size := range []int{256, 1 << 10, 8 << 10, 256 << 10} {
		b.Run(fmt.Sprint("value=", size), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "keelson.db"))
			random := rand.NewChaCha8([32]byte{})
			for seq := int64(1); seq <= total/int64(size); seq++ {
				value := make([]byte, size)
				random.Read(value)
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
			dir := b.TempDir()
			b.SetBytes(total)
			for b.Loop() {
				cp, err := db.Copy(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				f, err := backend.Write(b.Context(), cp, backend.Options{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
				if err := cp.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
