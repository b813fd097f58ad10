// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// # How rows get from the -wal file into the database file
//
// Problem. SQLite's WAL mode is what lets anybody read while we write, but it
// writes each page twice: into the -wal file, which it syncs, then into the
// database file. With the log's own copy that makes three, and flash cards wear
// out by it. The -wal file need not survive a loss of power, since the log can
// replay everything that was in it. All SQLite's sync of it is for is a
// checkpoint that is cut short: the database file is then half old and half new,
// and only a whole -wal file mends it.
//
// Light mode. The writing connection runs with synchronous=OFF, and the
// checkpoint is made safe by the pages that it is going to overwrite: there are few,
// because most rows go to new pages. The writer
//
//  1. saves them in the undo file and syncs that,
//  2. has SQLite copy the -wal file into the database file,
//  3. syncs the database file,
//  4. empties the -wal file, and syncs that it is empty,
//  5. clears the undo file and syncs that.
//
// The kernel is then never asked to write the pages of the -wal file, and since
// they are gone before it does so on its own, it doesn't.
//
// Why it is safe. Let S0 be the state in the database file before step 1 and S1
// the one after it. Until step 1 has ended the file is S0 and is not touched.
// From then until step 5 has ended, recovery puts the saved pages back and cuts the
// file to its old size, which makes it S0 again however little of S1 had arrived.
// After step 5 it is S1, and on disk. What the disk kept of the -wal file is one
// generation of it, which began when the file was empty and the database file was S0,
// so the part of it that SQLite finds whole (frames carry checksums over all before
// them) leads from S0 to a later state, never to a mixture. An older generation
// can't come back, because of step 4. In each case what is found is the state after
// some batch, and not before the last one that Persist answered for.
//
// Full mode. Step 4 fails when somebody reads an old state of the database, as each
// Copy does until it is closed; the -wal file then grows by all that is written, and
// beyond a bound the oldest Copy is ended. The
// writer then syncs the -wal file, clears the undo file and sets synchronous=NORMAL:
// SQLite does all its own syncs, at the old price, until a checkpoint manages to
// empty the file. The same happens when a step fails, and at the start. A sync
// that fails ends the writer: the kernel forgets what it could not write, so only
// recovery at the next start knows what is on disk.

// step names what a checkpoint has just done.
type step string

const (
	stepSaved   step = "undo file saved and synced"
	stepCopied  step = "-wal file copied"
	stepSynced  step = "database file synced"
	stepEmptied step = "-wal file emptied"
	stepSealed  step = "-wal file synced"
	stepCleared step = "undo file cleared and synced"
)

// SQLite's settings for the two modes.
const (
	lightSync = "PRAGMA synchronous=OFF"
	fullSync  = "PRAGMA synchronous=NORMAL"
)

// gateWait is how long a checkpoint waits for our own readers to make room, so
// that the -wal file can be emptied.
const gateWait = 100 * time.Millisecond

// Persist makes everything enqueued before the call durable, whatever happens to
// the machine, and returns the applied index that is. After an error it may be
// called again, unless that is ErrClosed or the one that Write returns.
func (db *DB) Persist(ctx context.Context) (applied uint64, err error) {
	if err := db.Flush(ctx); err != nil {
		return 0, err
	}
	err = db.do(ctx, db.checkpoint)
	return db.Stats().DurableIndex, err
}

// fullModeRetry is how often the writer tries to get back to light mode.
const fullModeRetry = time.Second

// checkpointEvery is the longest time between checkpoints in the present mode.
func (db *DB) checkpointEvery() time.Duration {
	if db.light {
		return db.opts.CheckpointEvery
	}
	return fullModeRetry
}

func (db *DB) checkpointDue(now time.Time) bool {
	if db.jobRetry.err != nil {
		return true // whatever failed, this tells whether it works again
	}
	return db.walBytes > 0 &&
		(db.walBytes >= db.checkpointAt || now.Sub(db.lastCheckpoint) >= db.checkpointEvery())
}

// checkpoint copies the -wal file into the database file as far as readers
// allow. When it returns nil, everything committed is durable. Writer only.
func (db *DB) checkpoint() error {
	start := db.opts.Clock.Now()
	db.lastCheckpoint = start
	if limit := max(db.opts.copyWALBytes, db.pages*db.pageSize); db.walBytes > limit && db.copies.endOldest() {
		db.opts.Logger.Warn("ended a copy of the database, which was read too slowly: the -wal file can't be emptied while it is open",
			zap.String("path", db.opts.Path), zap.Int64("wal-bytes", db.walBytes), zap.Int64("limit-bytes", limit))
	}
	var err error
	if db.light {
		err = db.checkpointLight()
	} else {
		err = db.checkpointFull()
	}
	if err != nil {
		return checked(db.opts.Path, "checkpoint", err)
	}
	wal, err := fileSize(db.opts.Path + "-wal")
	if err != nil {
		return err
	}
	db.walBytes, db.checkpointAt = wal, wal+db.opts.CheckpointBytes
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stats.DurableIndex = db.stats.CommittedIndex
	db.stats.WALBytes = wal
	db.stats.Checkpoints++
	db.stats.LastCheckpointSeconds = db.opts.Clock.Now().Sub(start).Seconds()
	return nil
}

func (db *DB) checkpointLight() error {
	wal, err := readWAL(db.opts.Path+"-wal", db.pageSize)
	if err == nil && len(wal.pages) == 0 {
		if size, err := fileSize(db.opts.Path + "-wal"); err != nil || size == 0 {
			return err
		}
		return db.finishLight() // transactions that were given up have left pages
	}
	if err == nil {
		err = db.undo.save(db.file, db.pageSize, wal)
	}
	if err != nil {
		db.opts.Logger.Warn("could not save pages before a checkpoint; the -wal file is synced instead",
			zap.String("path", db.opts.Path), zap.Error(err))
		if err := db.leaveLight(); err != nil {
			return err
		}
		return db.checkpointFull()
	}
	db.opts.afterStep(stepSaved)
	complete, err := db.copyWAL("PASSIVE")
	if err == nil {
		err = db.syncFile()
	}
	if errors.Is(err, errUnsynced) {
		return err
	}
	if err != nil || !complete {
		return errors.Join(err, db.leaveLight())
	}
	return db.finishLight()
}

// finishLight is the rest of a light checkpoint once the database file is whole and
// synced.
func (db *DB) finishLight() error {
	emptied, err := db.emptyWAL()
	if errors.Is(err, errUnsynced) {
		return err
	}
	if err != nil || !emptied {
		return errors.Join(err, db.leaveLight())
	}
	return db.clearUndo()
}

// leaveLight goes over to full mode. The database file may be half written, the
// -wal file is whole.
func (db *DB) leaveLight() error {
	if err := db.w.exec(fullSync); err != nil {
		return unsynced(err)
	}
	db.light = false
	if err := db.syncWAL(); err != nil {
		return err
	}
	return db.clearUndo()
}

// checkpointFull relies on SQLite's own syncs and tries to go over to light mode.
func (db *DB) checkpointFull() error {
	if err := db.syncWAL(); err != nil { // SQLite would, but only if it finds something to copy
		return err
	}
	complete, err := db.copyWAL("PASSIVE")
	if err != nil {
		return err
	}
	if err := db.syncFile(); err != nil {
		return err
	}
	if err := db.clearUndo(); err != nil || !complete {
		return err
	}
	if emptied, err := db.emptyWAL(); err != nil || !emptied {
		return err
	}
	if err := db.w.exec(lightSync); err != nil {
		return err
	}
	db.light = true
	return nil
}

// copyWAL has SQLite checkpoint, and reports whether nothing was left to do.
func (db *DB) copyWAL(how string) (complete bool, err error) {
	err = db.w.each("PRAGMA wal_checkpoint("+how+")", func(cols []driver.Value) error {
		complete = cols[0] == int64(0) && cols[1] == cols[2]
		return nil
	})
	db.opts.afterStep(stepCopied)
	return complete, err
}

// emptyWAL cuts the -wal file to no bytes, durably. It can't while somebody
// reads from it: ours are kept out for a moment, others not.
func (db *DB) emptyWAL() (emptied bool, err error) {
	alone, err := db.readers.exclusively(db.opts.Clock.After(gateWait), func() (err error) {
		emptied, err = db.copyWAL("TRUNCATE")
		return err
	})
	if err != nil || !alone || !emptied {
		return false, err
	}
	db.opts.afterStep(stepEmptied)
	return true, db.syncWAL()
}

// syncFile makes the database file durable.
func (db *DB) syncFile() error {
	if err := db.file.Sync(); err != nil {
		return unsynced(err)
	}
	db.opts.afterStep(stepSynced)
	return nil
}

// syncWAL makes the -wal file and its directory entry durable as they are.
func (db *DB) syncWAL() error {
	f, err := os.Open(db.opts.Path + "-wal")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(db.opts.Path))); err != nil {
		return unsynced(err)
	}
	db.opts.afterStep(stepSealed)
	return nil
}

// clearUndo may follow only when the database file or the -wal file is whole on disk.
func (db *DB) clearUndo() error {
	if !db.undo.valid {
		return nil
	}
	if err := db.undo.clear(); err != nil {
		return unsynced(err)
	}
	db.opts.afterStep(stepCleared)
	return nil
}

// closeWriter leaves a database file that holds everything, and no -wal file
// unless somebody else has the database open. After a writer that ended by itself
// it leaves what recovery needs.
func (db *DB) closeWriter() error {
	err := db.fatal // the writer has returned: nobody changes it
	if err == nil {
		err = db.checkpoint()
	}
	if isSyncFailure(err) {
		return errors.Join(err, db.closeAsIs(), db.closeFiles())
	}
	// SQLite checkpoints once more as it closes.
	return errors.Join(err, db.w.exec(fullSync), db.w.close(), db.closeFiles())
}

// closeAsIs closes the writer's connection and leaves the files as they are. SQLite copies the -wal file and removes
// it when its last connection closes; after a failed sync that would take the word of a kernel that has forgotten
// what it could not write. So the last one is one that can't write. Without such a one the writer's stays open.
func (db *DB) closeAsIs() error {
	last, err := openConn(context.Background(), db.opts.Path, modeRead, "busy_timeout=5000")
	if err != nil {
		return checked(db.opts.Path, "left open", err)
	}
	// It counts from its first read on.
	if _, err := last.int("SELECT count(*) FROM setting"); err != nil {
		return errors.Join(checked(db.opts.Path, "left open", err), last.close())
	}
	return errors.Join(db.w.close(), last.close())
}

// closeFiles is the last of all: closing the file drops this process's locks on it.
func (db *DB) closeFiles() error { return errors.Join(db.undo.close(), db.file.Close()) }
