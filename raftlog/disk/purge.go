// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.uber.org/zap"
)

// purge removes the oldest files with a suffix, by name, beyond max of them; negative: none. It stops at the
// first that is locked: the log still needs that one and all after it.
func purge(log *zap.Logger, dir, suffix string, max int) error {
	if max < 0 {
		return nil
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("purge %s: %w", dir, err)
	}
	var names []string
	for _, e := range all {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for len(names) > max {
		path := filepath.Join(dir, names[0])
		names = names[1:]
		f, err := fileutil.TryLockFile(path, os.O_WRONLY, fileutil.PrivateFileMode)
		if errors.Is(err, fileutil.ErrLocked) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("purge %s: %w", path, err)
		}
		if err := errors.Join(os.Remove(path), f.Close()); err != nil {
			return fmt.Errorf("purge %s: %w", path, err)
		}
		log.Info("purged", zap.String("path", path))
	}
	return nil
}
