// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// Lock is a process's hold of a data directory.
type Lock struct{ dir *os.File }

// LockDir takes hold of a data directory, which is created if it isn't there. It does not wait: ErrHeld says
// that another process has it. The kernel lets go when the process ends, however it ends.
func LockDir(dataDir string) (*Lock, error) {
	member := filepath.Join(dataDir, "member")
	if err := os.MkdirAll(member, fileutil.PrivateDirMode); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	// The directory itself is locked: a lock file would be one more thing for etcd's tools to find.
	dir, err := os.Open(member)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s: %w", dataDir, ErrHeld)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dataDir, err)
	}
	return &Lock{dir}, nil
}

// Release lets go. A nil Lock holds nothing.
func (l *Lock) Release() error {
	if l == nil || l.dir == nil {
		return nil
	}
	err := l.dir.Close()
	l.dir = nil
	return err
}
