// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRowsComeBack(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "keelson.db")
	db, err := Open(ctx, Options{Path: path, Clock: realClock{}})
	if err != nil {
		t.Fatal(err)
	}
	rows := []Row{
		{Seq: 1, Revision: 2, Key: []byte("/a"), CreateRevision: 2, Version: 1, Lease: 7, Value: []byte("x")},
		{Seq: 2, Revision: 3, Key: []byte("/b"), CreateRevision: 3, Version: 1, Value: []byte{}},
		{Seq: 3, Revision: 3, Sub: 1, Key: []byte("/a"), Tombstone: true},
	}
	if err := db.Write(&Batch{Rows: rows, AppliedIndex: 9, AppliedTerm: 2, Revision: 3}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(ctx, Options{Path: path, Clock: realClock{}}); err != nil {
		t.Fatal(err)
	}
	var got []Row
	if err := db.Scan(ctx, 1, func(r Row) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, got); diff != "" {
		t.Fatal(diff)
	}
	seq, err := db.SeqOfRevision(ctx, 3)
	if err != nil || seq != 2 {
		t.Fatal(seq, err)
	}
	if err := db.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
