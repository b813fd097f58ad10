// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// saveBackend writes an etcd backend file of the store and returns the entry that it is of.
func (f *fixture) saveBackend(path string) (uint64, error) {
	snap, err := f.store.OpenBackend(context.Background())
	if err != nil {
		return 0, err
	}
	out, err := os.Create(path)
	if err == nil {
		_, err = io.Copy(out, snap.Body)
		err = errors.Join(err, out.Close())
	}
	return snap.Index, errors.Join(err, snap.Body.Close())
}

// A backend file that is made while Restore replaces the database is of before or of
// after, and whole.
func TestBackendBesideRestore(t *testing.T) {
	p := newPair(t, nil)
	putObjects(t, p.fixture, 2000)
	putObjects(t, p.behind, 500)
	after := p.save(p.file)
	before, _ := p.behind.store.Applied()
	restored := make(chan struct{})
	type saved struct {
		path  string
		index uint64
		err   error
	}
	all := make(chan saved, 1000)
	dir := t.TempDir()
	go func() {
		defer close(all)
		for last := false; !last; {
			select {
			case <-restored:
				last = true
			default:
			}
			s := saved{path: filepath.Join(dir, "db")}
			s.index, s.err = p.behind.saveBackend(s.path)
			if s.err == nil {
				s.err = ImportBackend(context.Background(), s.path, wallClock{})
			}
			if s.err == nil {
				s.err = VerifySnapshot(context.Background(), s.path, s.index)
			}
			all <- s
		}
	}()
	first := <-all
	if err := p.behind.store.Restore(context.Background(), p.file); err != nil {
		t.Fatal(err)
	}
	close(restored)
	newest := first
	for s := range all {
		newest = s
		if s.err != nil || s.index != before && s.index != after {
			t.Errorf("a file of entry %d, %v; want %d or %d", s.index, s.err, before, after)
		}
	}
	if first.err != nil || first.index != before || newest.index != after {
		t.Errorf("the first file is of entry %d (%v), the last of %d; want %d and %d", first.index, first.err, newest.index, before, after)
	}
}
