// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/sqldb"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFinishRestore starts on what a crash left at each point of a Restore, and after it.
func TestFinishRestore(t *testing.T) {
	for name, prepare := range map[string]func(p *pairOfStores, index uint64){
		"before it": func(*pairOfStores, uint64) {},
		"before it, over a database that is cut off": func(p *pairOfStores, _ uint64) {
			if err := os.Truncate(p.behind.opts.DB.Path, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"without a database": func(p *pairOfStores, _ uint64) {
			if err := os.Remove(p.behind.opts.DB.Path); err != nil {
				t.Fatal(err)
			}
		},
		"taken over": func(p *pairOfStores, _ uint64) {
			if err := os.Rename(p.file, takenOver(p.behind.opts.DB.Path)); err != nil {
				t.Fatal(err)
			}
		},
		"taken over, and received again": func(p *pairOfStores, _ uint64) {
			copyFile(t, p.file, takenOver(p.behind.opts.DB.Path))
		},
		"done, received again": func(p *pairOfStores, index uint64) {
			again := filepath.Join(t.TempDir(), "again")
			copyFile(t, p.file, again)
			p.behind.open()
			if err := p.behind.store.Restore(context.Background(), p.file); err != nil {
				t.Fatal(err)
			}
			if err := p.behind.store.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			copyFile(t, again, p.file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil)
			p.both(put("a", "1"))
			p.must(put("a", "2"))
			index := p.save(p.file)
			if err := p.behind.store.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			prepare(p, index)
			for range 2 {
				if err := FinishRestore(context.Background(), p.behind.opts.DB.Path, p.file, index); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range []string{p.file, takenOver(p.behind.opts.DB.Path)} {
				if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is left: %v", file, err)
				}
			}
			p.behind.open()
			if p.behind.index != index {
				t.Errorf("applied is %d, not %d", p.behind.index, index)
			}
			p.same()
		})
	}
}

// TestFinishRestoreKeepsWhatIsNewer: a snapshot that was received again after it was restored, with entries applied
// since, some of which are in the -wal file only.
func TestFinishRestoreKeepsWhatIsNewer(t *testing.T) {
	p := newPair(t, nil)
	p.both(put("a", "1"))
	p.must(put("a", "2"))
	index := p.save(p.file)
	again := filepath.Join(t.TempDir(), "again")
	copyFile(t, p.file, again)
	if err := p.behind.store.Restore(context.Background(), p.file); err != nil {
		t.Fatal(err)
	}
	p.behind.index = index
	p.behind.must(put("a", "3"))
	want := p.behind.read(0, "a", "")
	if err := p.behind.store.db.now().Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "keelson.db")
	for _, suffix := range []string{"", "-wal"} {
		copyFile(t, p.behind.opts.DB.Path+suffix, crashed+suffix)
	}
	if err := FinishRestore(context.Background(), crashed, again, index); err != nil {
		t.Fatal(err)
	}
	opts := p.behind.opts
	opts.DB.Path = crashed
	other := &fixture{t: t, opts: opts}
	other.open()
	defer other.store.Close(context.Background())
	if got := other.read(0, "a", ""); len(got) != 1 || got[0] != want[0] {
		t.Errorf("the start finds %q, not %q", got, want)
	}
}

// TestRestoreTakesTheFileOver: from its beginning nobody finds the file under the name by which it was received, and
// what is received meanwhile is let alone.
func TestRestoreTakesTheFileOver(t *testing.T) {
	p := newPair(t, nil)
	p.both(put("a", "1"))
	p.must(put("a", "2"))
	index := p.save(p.file)
	reading, stay := make(chan struct{}), make(chan struct{})
	go func() {
		_ = p.behind.store.db.use(context.Background(), func(*sqldb.DB) error {
			close(reading)
			<-stay
			return nil
		})
	}()
	<-reading // and so the database can't be replaced yet
	restored := make(chan error, 1)
	go func() { restored <- p.behind.store.Restore(context.Background(), p.file) }()
	until(t, "the file has been taken over", func() bool {
		_, err := os.Stat(p.file)
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := os.WriteFile(p.file, []byte("received again"), 0o600); err != nil {
		t.Fatal(err)
	}
	close(stay)
	if err := within(t, "a restore", func() error { return <-restored }); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(p.file); err != nil || string(data) != "received again" {
		t.Errorf("what was received again is %q, %v", data, err)
	}
	p.behind.index = index
	p.same()
}

// TestRestoreForgetsPins: also those of pages that were read while it went on.
func TestRestoreForgetsPins(t *testing.T) {
	p := newPair(t, nil)
	var rev int64
	p.behind.opts.Observe = func(c Change) {
		if c.Kind != ChangeReset {
			return
		}
		rev = p.behind.store.Revision()
		page := &pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Limit: 1, KeysOnly: true}
		if resp, err := p.behind.store.Range(context.Background(), page); err != nil || !resp.More {
			t.Errorf("a page while a restore goes on: %v %v", resp, err)
		}
	}
	p.behind.reopen()
	p.both(put("a", "1"))
	p.both(put("b", "1"))
	p.must(put("b", "2"))
	p.transfer()
	if rev == 0 || p.behind.store.pins.get(rev) != nil {
		t.Errorf("the view of revision %d is pinned over a restore", rev)
	}
}

// TestRestoreVoidsCursors: a watcher that was about to read on from a row of the old database begins anew in the new.
func TestRestoreVoidsCursors(t *testing.T) {
	p := newPair(t, nil)
	for i := range 5 {
		p.both(put("a", fmt.Sprint(i)))
	}
	stream := p.behind.store.NewWatchStream()
	defer stream.Close()
	h := p.behind.store.hub
	w := &watcher{lo: "a", single: true, stream: stream, next: 2, cursor: 4}
	p.must(put("a", "5"))
	p.transfer() // between the look at what the watcher needs and the reading
	end := p.behind.store.Revision() + 1
	events, _, err := h.catchUpFromRows(context.Background(), w, end)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 6 || events[0].v.revision != 2 {
		t.Errorf("%d events", len(events))
	}
}

// spoil changes the file of a snapshot by SQL.
func spoil(t *testing.T, file, script string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err == nil {
		_, err = db.Exec(script + "; PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// spoiled are faults that SQLite does not mind.
var spoiled = map[string]string{
	"a type of a row":         "UPDATE history SET lease = 'x' WHERE seq = 2",
	"a key that is text":      "UPDATE history SET key = 'a' WHERE seq = 2",
	"revisions that descend":  "UPDATE history SET revision = 100 WHERE seq = 1",
	"a type of a lease":       "INSERT INTO lease VALUES (1, 'x', 0)",
	"a type of an alarm":      "INSERT INTO alarm VALUES ('7', x'00')",
	"a member without number": "INSERT INTO member VALUES ('x', 0, '{}')",
	"a type of a member":      "INSERT INTO member VALUES ('7', 'x', '{}')",
	"a name of a setting":     "INSERT INTO setting VALUES (x'00', 1)",
	"a kind of a permission":  "INSERT INTO auth_role VALUES ('r'); INSERT INTO auth_permission VALUES ('r', 0, 'SOME', x'00', x'')",
}

// TestVerifyRefusesWhatCannotBeLoaded, and names the file. It never replaces a database.
func TestVerifyRefusesWhatCannotBeLoaded(t *testing.T) {
	f := newFixture(t, nil)
	f.must(put("a", "1"))
	f.must(put("a", "2"))
	whole := filepath.Join(t.TempDir(), "whole")
	index := f.save(whole)
	if err := VerifySnapshot(context.Background(), whole, index); err != nil {
		t.Fatal(err)
	}
	for name, script := range spoiled {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "spoiled")
			copyFile(t, whole, file)
			spoil(t, file, script)
			if err := VerifySnapshot(context.Background(), file, index); err == nil {
				t.Error("it passes")
			} else {
				t.Log(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := VerifySnapshot(ctx, whole, index); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// TestFailedRestoreServesNothingNew: when the new database can't be loaded, rows are neither read from it nor from the
// one that it has replaced.
func TestFailedRestoreServesNothingNew(t *testing.T) {
	p := newPair(t, func(o *Options) { o.CacheBytes = 1 })
	p.both(put("a", "1"))
	p.both(put("a", "2"))
	p.save(p.file)
	p.behind.reopen()
	spoil(t, p.file, spoiled["revisions that descend"])
	if err := p.behind.store.Restore(context.Background(), p.file); err == nil {
		t.Fatal("a snapshot that can't be loaded was restored")
	}
	_, err := p.behind.store.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")})
	if !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("a read of rows after a restore that failed: %v", err)
	}
	if _, err := p.behind.store.HashKV(context.Background(), 0); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("a hash after a restore that failed: %v", err)
	}
	err = within(t, "a backend file", func() error { _, err := p.behind.store.OpenBackend(context.Background()); return err })
	if !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("a backend file after a restore that failed: %v", err)
	}
}
