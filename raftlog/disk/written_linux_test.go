// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// The kernel writes little more than what is saved, whether the log was just created or opened again.
func TestBytesWritten(t *testing.T) {
	dir := t.TempDir()
	const saves, size, most = 2000, 20 << 10, 64 << 10
	index := uint64(0)
	for range 2 {
		w := newWAL(dir)
		w.opts.UnsafeNoFsync = false
		if _, err := w.Open(testIdentity, 0); err != nil {
			t.Fatal(err)
		}
		before := writtenBytes(t)
		for range saves {
			index++
			e := &raftpb.Entry{Index: new(index), Term: new(uint64(1)), Data: make([]byte, size)}
			if err := w.Save(&raftpb.HardState{Term: new(uint64(1)), Commit: new(index - 1)}, []*raftpb.Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
		if written := writtenBytes(t) - before; written > saves*most {
			t.Errorf("%d saves of %d bytes were %d bytes, or %d each", saves, size, written, written/saves)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writtenBytes is how much this process has had written to disks, so far.
func writtenBytes(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("the kernel does not count: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no count of bytes in %s", b)
	return 0
}
