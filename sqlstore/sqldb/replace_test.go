// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// copyOf writes a copy of a database that holds rows 1 to n into a file.
func copyOf(t *testing.T, n int) string {
	t.Helper()
	db := open(t, testOptions(t))
	must(t, db.Write(batchOf(1, n)))
	return saveCopy(t, db)
}

func saveCopy(t *testing.T, db *DB) string {
	t.Helper()
	cp, err := db.Copy(t.Context())
	must(t, err)
	file := filepath.Join(t.TempDir(), "copy")
	out, err := os.Create(file)
	must(t, err)
	n, err := io.Copy(out, cp)
	must(t, errors.Join(err, out.Close(), cp.Close()))
	if n != cp.Size {
		t.Fatalf("%d bytes, and %d were told", n, cp.Size)
	}
	return file
}

// ignoreRow is for Verify.
func ignoreRow(RowMeta) error { return nil }

// neverDeleted is for verify.
func neverDeleted(int64) bool { return false }

// TestReplaceCutShort stops it after every step, over a database that was not closed
// clean and has a -wal and an undo file, and has another call finish it.
func TestReplaceCutShort(t *testing.T) {
	stop := errors.New("stopped")
	for _, at := range []replaceStep{replaceSynced, replaceCleared, replaceRenamed, ""} {
		t.Run(string(at), func(t *testing.T) {
			file := copyOf(t, 500)
			o := testOptions(t)
			old := open(t, o)
			for i := range int64(20) {
				must(t, old.Write(batchOf(1+100*i, 100)))
				must(t, old.Flush(t.Context()))
			}
			crashed := o
			crashed.Path = filepath.Join(t.TempDir(), "keelson.db")
			for _, suffix := range []string{"", "-wal", "-shm", "-undo"} {
				data, err := os.ReadFile(o.Path + suffix)
				if suffix == "-undo" && errors.Is(err, fs.ErrNotExist) {
					data, err = []byte(undoMagic), nil
				}
				must(t, err)
				must(t, os.WriteFile(crashed.Path+suffix, data, 0o600))
			}
			err := replaceWith(crashed.Path, file, func(s replaceStep) error {
				if s == at {
					return stop
				}
				return nil
			})
			if at != "" && !errors.Is(err, stop) || at == "" && err != nil {
				t.Fatal(err)
			}
			must(t, Replace(crashed.Path, file))
			must(t, Replace(crashed.Path, file))
			if got := verify(t, open(t, crashed), neverDeleted); got != 500 {
				t.Errorf("applied index %d", got)
			}
		})
	}
}

// TestVerifyRefuses what a copy is not, and leaves no file behind.
func TestVerifyRefuses(t *testing.T) {
	file := copyOf(t, 3000)
	whole, err := os.ReadFile(file)
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"nothing":            {func(b []byte) []byte { return b[:0] }, ErrCorrupt},
		"less than a page":   {func(b []byte) []byte { return b[:5000] }, ErrCorrupt},
		"a page is missing":  {func(b []byte) []byte { return b[:len(b)-DefaultPageSize] }, ErrCorrupt},
		"a byte is missing":  {func(b []byte) []byte { return b[:len(b)-1] }, ErrCorrupt},
		"a byte too many":    {func(b []byte) []byte { return append(b, 0) }, ErrCorrupt},
		"a page too many":    {func(b []byte) []byte { return append(b, make([]byte, DefaultPageSize)...) }, ErrCorrupt},
		"not ours":           {func(b []byte) []byte { b[offApplicationID]++; return b }, ErrForeignFile},
		"newer":              {func(b []byte) []byte { b[offUserVersion+3]++; return b }, ErrNewerSchema},
		"no SQLite database": {func(b []byte) []byte { b[0]++; return b }, ErrCorrupt},
		"a page of noise": {func(b []byte) []byte {
			page := b[20*DefaultPageSize : 21*DefaultPageSize]
			for i := range page {
				page[i] = byte(rng.Uint32())
			}
			return b
		}, ErrCorrupt},
		"a page of zeros": {func(b []byte) []byte { clear(b[30*DefaultPageSize : 31*DefaultPageSize]); return b }, ErrCorrupt},
		"pages in another order": {func(b []byte) []byte {
			copy(b[20*DefaultPageSize:], whole[21*DefaultPageSize:22*DefaultPageSize])
			return b
		}, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "received")
			must(t, os.WriteFile(path, c.change(append([]byte(nil), whole...)), 0o600))
			if _, err := Verify(context.Background(), path, ignoreRow); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			left, err := os.ReadDir(filepath.Dir(path))
			must(t, err)
			if len(left) != 1 {
				t.Errorf("files left: %v", left)
			}
		})
	}
	state, err := Verify(context.Background(), file, ignoreRow)
	must(t, err)
	if state.AppliedIndex != 3000 || state.NextSeq != 3001 {
		t.Errorf("%+v", state)
	}
	if _, err := Verify(context.Background(), file+"x", ignoreRow); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestCopyBesideCheckpoints: the copy is of one state, whatever goes on, and the
// writer finds its way back to light mode after it.
func TestCopyBesideCheckpoints(t *testing.T) {
	o := testOptions(t)
	o.CheckpointBytes = 1 << 20
	db := open(t, o)
	must(t, db.Write(batchOf(1, 3000)))
	cp, err := db.Copy(t.Context())
	must(t, err)
	defer cp.Close()
	file := filepath.Join(t.TempDir(), "copy")
	out, err := os.Create(file)
	must(t, err)
	next := int64(3001)
	for {
		_, err := io.CopyN(out, cp, 300_000)
		must(t, db.Write(batchOf(next, 200)))
		next += 200
		durable, persistErr := db.Persist(t.Context())
		must(t, persistErr)
		if durable != uint64(next-1) {
			t.Fatalf("durable up to %d of %d while a copy is open", durable, next-1)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
	}
	must(t, errors.Join(out.Close(), cp.Close()))
	state, err := Verify(t.Context(), file, ignoreRow)
	must(t, err)
	if state.AppliedIndex != 3000 {
		t.Errorf("the copy is of entry %d", state.AppliedIndex)
	}
	light := false
	for range 2 { // one checkpoint empties the -wal file, and from then on
		must(t, db.Write(batchOf(next, 10)))
		next += 10
		_, err = db.Persist(t.Context())
		must(t, err)
		must(t, db.do(t.Context(), func() error { light = db.light; return nil }))
	}
	if wal, err := fileSize(o.Path + "-wal"); err != nil || wal != 0 || !light {
		t.Errorf("after the copy the -wal file has %d bytes, light mode: %v, %v", wal, light, err)
	}
	verify(t, db, neverDeleted)
}

// TestCopyRows reads a copy row by row while the database goes on.
func TestCopyRows(t *testing.T) {
	db := open(t, testOptions(t))
	must(t, db.Write(batchOf(1, 500)))
	cp, err := db.Copy(t.Context())
	must(t, err)
	for want := int64(1); ; want++ {
		if want == 100 {
			must(t, db.Write(batchOf(501, 500)))
			must(t, db.Delete(t.Context(), []int64{1, 50, 200, 400}))
			must(t, db.Flush(t.Context()))
		}
		r, err := cp.Next()
		if errors.Is(err, io.EOF) {
			if want != 501 {
				t.Errorf("rows end before %d", want)
			}
			break
		}
		must(t, err)
		if !sameRow(r, rowAt(want)) {
			t.Fatalf("row %d is %v", want, r)
		}
	}
	must(t, cp.Close())
	if _, err := cp.Next(); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}
