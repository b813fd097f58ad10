// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// written makes a database of n rows, closed clean, and returns its options.
func written(t *testing.T, n int) Options {
	t.Helper()
	o := testOptions(t)
	db := open(t, o)
	must(t, db.Write(batchOf(1, n)))
	must(t, db.Close(context.Background()))
	return o
}

// alter opens the file as an SQLite tool would and runs a script.
func alter(t *testing.T, path, script string) {
	t.Helper()
	c, err := openConn(t.Context(), path, modeCreate)
	must(t, err)
	must(t, c.script(script))
	must(t, c.close())
}

// TestOpenRefuses wants a file that is not ours, newer, or damaged refused by
// name, and left as it is.
func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  error
	}{
		{"newer schema", func(t *testing.T, path string) { alter(t, path, "PRAGMA user_version = 99") }, ErrNewerSchema},
		{"foreign database", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			alter(t, path, "CREATE TABLE theirs (x)")
		}, ErrForeignFile},
		{"no database", func(t *testing.T, path string) { must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 8192), 0o600)) }, ErrCorrupt},
		{"truncated", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, info.Size()/2))
		}, ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := written(t, 500)
			test.spoil(t, o.Path)
			before, err := os.ReadFile(o.Path)
			must(t, err)
			_, err = Open(t.Context(), o)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), o.Path) {
				t.Errorf("open: %v, want %v and the file's name", err, test.want)
			}
			after, err := os.ReadFile(o.Path)
			must(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestDamagedPages wants damage inside the file found when rows are read, and
// never taken for data.
func TestDamagedPages(t *testing.T) {
	o := written(t, 2000)
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	half := bytes.Repeat([]byte{0xff}, int(info.Size()/2/DefaultPageSize*DefaultPageSize))
	_, err = f.WriteAt(half, info.Size()/4/DefaultPageSize*DefaultPageSize)
	must(t, err)
	must(t, f.Close())
	db, err := Open(t.Context(), o)
	if err == nil {
		err = db.Load(t.Context(), func([]RowMeta) error { return nil })
		_ = db.Close(context.Background())
	}
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), o.Path) {
		t.Errorf("%v, want %v and the file's name", err, ErrCorrupt)
	}
}
