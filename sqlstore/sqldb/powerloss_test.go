// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var powerSeed = flag.Uint64("power-seed", 0, "seed of the power loss test; 0: a new one")

var powerRuns = flag.Int("power-runs", 3, "how often the power loss test is run")

// block is what a disk writes whole.
const block = 4096

// disk models what a loss of power leaves of the files. A file has the versions
// that it went through since it was last synced; each of its blocks is found as any
// of them had it, and its size is that of any of them.
type disk struct {
	tb       testing.TB
	rng      *rand.Rand
	path     string
	versions map[string][][]byte // by suffix; nil content: no file
}

var suffixes = []string{"", "-wal", "-undo"}

// note adds the present content of the files to their versions.
func (d *disk) note() {
	for _, s := range suffixes {
		content, err := os.ReadFile(d.path + s)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.tb.Fatal(err)
		}
		if content == nil {
			content = []byte{}
		}
		if s == "-wal" && d.restarted(content) {
			// In full mode SQLite starts the file over in place. It writes and syncs
			// the header before any frame, over whatever else is in the file.
			seed := bytes.Clone(d.newest(s))
			copy(seed, content[:walHeaderSize])
			d.versions[s] = [][]byte{seed}
		}
		d.versions[s] = append(d.versions[s], content)
	}
}

func (d *disk) newest(suffix string) []byte {
	v := d.versions[suffix]
	if len(v) == 0 {
		return nil
	}
	return v[len(v)-1]
}

// restarted tells whether the -wal file, not empty before, has a new header.
func (d *disk) restarted(content []byte) bool {
	before := d.newest("-wal")
	return len(before) >= walHeaderSize && len(content) >= walHeaderSize &&
		!bytes.Equal(before[:walHeaderSize], content[:walHeaderSize])
}

// synced forgets all versions of a file but the newest.
func (d *disk) synced(suffix string) {
	v := d.versions[suffix]
	d.versions[suffix] = v[len(v)-1:]
}

// after keeps account of a step of a checkpoint.
func (d *disk) after(s step) {
	d.note()
	switch s {
	case stepSaved, stepCleared:
		d.synced("-undo")
	case stepSynced:
		d.synced("")
	case stepSealed:
		d.synced("-wal")
	}
}

// crash writes what might be left into dir and returns the database's path there.
func (d *disk) crash(dir string) string {
	path := filepath.Join(dir, "keelson.db")
	for _, s := range suffixes {
		v := d.versions[s]
		size := d.rng.IntN(len(v))
		v, content := uncut(v, size), make([]byte, len(v[size]))
		for off := 0; off < len(content); off += block {
			from := v[d.rng.IntN(len(v))]
			end := min(off+block, len(content))
			if off < len(from) {
				copy(content[off:end], from[off:])
			}
		}
		must(d.tb, os.WriteFile(path+s, content, 0o600))
	}
	if undo := path + "-undo"; d.rng.IntN(2) == 0 {
		d.otherBoot(undo)
	}
	return path
}

// uncut returns the run of versions around version i in which the file was never
// cut to nothing. Cutting is one change of the inode: what was in the file before is
// not found beside what came after.
func uncut(versions [][]byte, i int) [][]byte {
	from, to := i, i+1
	for from > 0 && len(versions[from]) > 0 {
		from--
	}
	for to < len(versions) && len(versions[to]) > 0 {
		to++
	}
	return versions[from:to]
}

// otherBoot makes an undo file look as if an earlier run of the kernel had written
// it. Nobody else has the database open, so it must make no difference.
func (d *disk) otherBoot(path string) {
	content, err := os.ReadFile(path)
	must(d.tb, err)
	header, ok, err := readUndo(bytes.NewReader(content))
	if err != nil || !ok {
		return
	}
	copy(content[undoOffBoot:], strings.Repeat("0", undoBootSize))
	sum := crc32.New(castagnoli)
	sum.Write(content[:undoOffSum])
	sum.Write(content[undoHeaderSize:][:int64(header.count)*(4+header.pageSize)])
	binary.BigEndian.PutUint32(content[undoOffSum:], sum.Sum32())
	must(d.tb, os.WriteFile(path, content, 0o600))
}

// TestPowerLoss loses power between any two steps of checkpoints under a load of
// rows, deletions and vacuum, with and without a reader that holds the -wal file,
// and checks invariant 3 on what is left.
func TestPowerLoss(t *testing.T) {
	seed := *powerSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-power-seed=%d", seed)
	for i := range uint64(*powerRuns) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { losePower(t, seed+i) })
	}
}

// image is what a loss of power left, and what must be found in it.
type image struct {
	path             string
	when             step
	durable, highest uint64
	deletable        int64
}

// verify opens the image and reports whether (1) or not (0) pages were put back.
func (i image) verify(t *testing.T) (restored int) {
	t.Helper()
	undo, err := os.Open(undoPath(i.path))
	must(t, err)
	if _, ok, err := readUndo(undo); err == nil && ok {
		restored = 1
	}
	must(t, undo.Close())
	db, err := Open(t.Context(), Options{Path: i.path, Clock: realClock{}})
	if err != nil {
		t.Fatalf("%s: open what was left: %v", i.when, err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("power was lost after %q, pages put back: %d", i.when, restored)
		}
	}()
	got := verify(t, db, func(seq int64) bool { return seq <= i.deletable && seq%3 != 0 })
	if got < i.durable || got > i.highest {
		t.Errorf("%s: found the state at %d, durable was %d, written %d", i.when, got, i.durable, i.highest)
	}
	must(t, db.Close(t.Context()))
	must(t, os.RemoveAll(filepath.Dir(i.path)))
	return restored
}

func losePower(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	o := testOptions(t)
	o.PageSize = 4096 << rng.IntN(2)
	o.CheckpointBytes, o.CheckpointEvery = 200_000, time.Hour
	o.VacuumMinBytes, o.VacuumPercent = 1, 1
	chance := rand.New(rand.NewPCG(seed, 1)) // the writer's, as is all that afterStep touches
	d := &disk{tb: t, rng: chance, path: o.Path, versions: map[string][][]byte{}}
	var opened atomic.Pointer[DB]
	var deletable, highest atomic.Int64 // rows up to deletable may be deleted
	var images []image
	look := func(when step) {
		dir, err := os.MkdirTemp(filepath.Dir(o.Path), "image")
		must(t, err)
		images = append(images, image{
			path: d.crash(dir), when: when, durable: opened.Load().Stats().DurableIndex,
			highest: uint64(highest.Load()), deletable: deletable.Load(),
		})
	}
	last := step("start")
	o.afterStep = func(s step) {
		if opened.Load() == nil {
			return // Open's own first checkpoint
		}
		d.note()
		if chance.IntN(3) == 0 {
			look(last + ", before " + s)
		}
		d.after(s)
		last = s
		if chance.IntN(3) == 0 {
			look(s)
		}
	}
	db := open(t, o)
	d.note()
	for _, s := range suffixes {
		d.synced(s)
	}
	opened.Store(db)
	var reader *conn
	for round, next := 0, int64(1); round < 60; round++ {
		n := 1 + rng.IntN(100)
		highest.Store(next + int64(n) - 1)
		must(t, db.Write(batchOf(next, n)))
		must(t, db.Flush(t.Context()))
		next += int64(n)
		switch rng.IntN(12) {
		case 0, 1:
			from := deletable.Load() + 1
			deletable.Store(next - 1)
			var seqs []int64
			for s := from; s < next; s++ {
				if s%3 != 0 {
					seqs = append(seqs, s)
				}
			}
			must(t, db.Delete(t.Context(), seqs))
		case 2:
			db.Vacuum()
		case 3:
			_, err := db.Persist(t.Context())
			must(t, err)
		case 4:
			if reader == nil {
				reader = holdReader(t, o.Path)
			}
		case 5:
			if reader != nil {
				must(t, reader.close())
				reader = nil
			}
		}
	}
	if reader != nil {
		must(t, reader.close())
	}
	must(t, db.Close(t.Context()))
	if len(images) == 0 {
		t.Error("power was never lost")
	}
	restored := 0
	for _, i := range images {
		restored += i.verify(t)
	}
	t.Logf("%d images, %d of them in the middle of a checkpoint", len(images), restored)
}

// holdReader opens a connection of its own and a read transaction on it.
func holdReader(tb testing.TB, path string) *conn {
	c, err := openConn(tb.Context(), path, modeUse, "busy_timeout=5000")
	must(tb, err)
	must(tb, c.exec("BEGIN"))
	_, err = c.int("SELECT count(*) FROM setting")
	must(tb, err)
	return c
}
