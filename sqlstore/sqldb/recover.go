// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"errors"
	"os"

	"go.uber.org/zap"
)

// recovered is what recovery leaves open: the database file, to be synced and
// read beside SQLite, and the undo file.
type recovered struct {
	file *os.File
	undo *undoFile
}

func (r recovered) close() error { return errors.Join(r.undo.close(), r.file.Close()) }

// recoverFile opens the files and, if a checkpoint was cut short, puts the pages
// that it overwrote back. SQLite must not have the database open in this process.
func recoverFile(o Options) (recovered, error) {
	file, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		return recovered{}, err
	}
	undo, err := openUndo(o.Path)
	if err != nil {
		return recovered{}, errors.Join(err, file.Close())
	}
	r := recovered{file: file, undo: undo}
	if err := r.restore(o); err != nil {
		return recovered{}, errors.Join(err, r.close())
	}
	return r, nil
}

func (r recovered) restore(o Options) error {
	if r.undo.f == nil {
		return nil
	}
	r.undo.valid = true // until it is known not to be
	header, ok, err := readUndo(r.undo.f)
	if err != nil {
		return err
	}
	if !ok {
		r.undo.valid = false
		return nil
	}
	alone, err := lockAlone(r.file)
	if err != nil {
		return err
	}
	if !alone {
		// Whoever has the database open in the same run of the kernel shares with us a page
		// cache that lost nothing: for them and for us the -wal file is whole, the
		// first checkpoint will repeat what was cut short. The pages stay saved till then.
		if header.boot != "" && header.boot == bootID() {
			return nil
		}
		return ErrInUse
	}
	o.Logger.Info("a checkpoint was cut short; putting back the pages it overwrote",
		zap.String("path", o.Path), zap.Uint32("pages", header.count))
	if err := restore(r.file, r.undo.f, header); err != nil {
		return errors.Join(err, unlock(r.file))
	}
	return errors.Join(r.undo.clear(), unlock(r.file))
}
