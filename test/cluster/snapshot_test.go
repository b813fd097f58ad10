// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// TestSnapshotUnderLoad takes snapshots of a server that is written to and compacted all the time. Each holds one state: its
// history has the hash that the server's has at that revision, and an etcd goes on with the last.
func TestSnapshotUnderLoad(t *testing.T) {
	server := harness.Start(t, serverKind(t), harness.Options{})
	client := server.Client(t)
	stop := loadServer(t, client)
	etcdutl := harness.Build(t, harness.Etcdutl)
	path := filepath.Join(t.TempDir(), "snapshot.db")
	for range 5 {
		var file fileHash
		now, err := client.Get(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		// Its rows go while the snapshot is taken.
		if _, err := client.Compact(t.Context(), now.Header.Revision-50); err != nil {
			t.Fatal(err)
		}
		if err := saveTo(t.Context(), client, path); err != nil {
			t.Fatal(err)
		}
		runTool(t, etcdutl, "snapshot", "status", path)
		if err := json.Unmarshal(runTool(t, etcdutl, "hashkv", path, "-w", "json"), &file); err != nil {
			t.Fatal(err)
		}
		if file.HashRevision < now.Header.Revision {
			t.Errorf("the snapshot ends at revision %d, %d was read before it", file.HashRevision, now.Header.Revision)
		}
		wantHash(t, server, file)
	}
	if err := saveTo(t.Context(), client, path); err != nil {
		t.Fatal(err)
	}
	stop()
	etcd := harness.New(t, harness.Etcd, harness.Options{Args: []string{"--log-level=error"}})
	runTool(t, etcdutl, "snapshot", "restore", path, "--data-dir="+etcd.DataDir(), "--name="+etcd.Name(),
		"--initial-cluster="+etcd.Name()+"="+etcd.PeerURL(), "--initial-advertise-peer-urls="+etcd.PeerURL())
	etcd.Restart()
	restored, err := pb.NewMaintenanceClient(etcd.Conn(t)).HashKV(t.Context(), &pb.HashKVRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantHash(t, server, fileHash{restored.Hash, restored.HashRevision, restored.CompactRevision})
}

// fileHash is what etcdutl hashkv prints.
type fileHash struct {
	Hash                          uint32
	HashRevision, CompactRevision int64
}

// wantHash compares a hash with the server's at the same revision.
func wantHash(t *testing.T, server *harness.Server, h fileHash) {
	t.Helper()
	got, err := pb.NewMaintenanceClient(server.Conn(t)).HashKV(t.Context(), &pb.HashKVRequest{Revision: h.HashRevision})
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != h.Hash || got.CompactRevision != h.CompactRevision {
		t.Errorf("hash %d after compaction at %d, the server has %d after %d", h.Hash, h.CompactRevision, got.Hash, got.CompactRevision)
	}
}

// loadServer writes and deletes until stop is called, and returns when enough is written to begin with.
func loadServer(t *testing.T, client *clientv3.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var writes atomic.Int64
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("key-%d-%d", w, i%50)
				_, err := client.Put(ctx, key, fmt.Sprint("value ", i))
				if err == nil && i%7 == 0 {
					_, err = client.Delete(ctx, key)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("a write beside a snapshot: %v", err)
				}
				writes.Add(1)
			}
		})
	}
	stop = func() {
		cancel()
		writers.Wait()
	}
	t.Cleanup(stop)
	wantSoon(t, "writes", func() error {
		if n := writes.Load(); n < 300 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
	return stop
}

// saveTo writes a snapshot to a file, with its hash, as etcdctl does.
func saveTo(ctx context.Context, client *clientv3.Client, path string) error {
	r, err := client.Snapshot(ctx)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if len(data)%512 != sha256.Size {
		return fmt.Errorf("a snapshot of %d bytes has no hash", len(data))
	}
	return os.WriteFile(path, data, 0o600)
}

// runTool runs a tool and returns what it prints.
func runTool(t *testing.T, path string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = harness.CleanEnviron()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(path), args, err, out)
	}
	return out
}

// awaitNextSegment waits until the log has reserved the space of its next segment, which it does on the side.
func awaitNextSegment(t *testing.T, dataDir string) {
	t.Helper()
	const segmentBytes = 64 * 1000 * 1000
	for deadline := time.Now().Add(serveTimeout); ; <-time.After(10 * time.Millisecond) {
		spare, err := filepath.Glob(filepath.Join(dataDir, "member", "wal", "*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range spare {
			if info, err := os.Stat(path); err == nil && info.Size() >= segmentBytes {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no segment is ready: %q", spare)
		}
	}
}

// TestSnapshotOnFullDisk takes a snapshot where there is no space for one. It says so, and writes go on.
func TestSnapshotOnFullDisk(t *testing.T) {
	keelsonOnly(t)
	disk := smallDisk(t)
	server := harness.Start(t, serverKind(t), harness.Options{DataDir: filepath.Join(disk, "data")})
	client := server.Client(t)
	path := filepath.Join(t.TempDir(), "snapshot.db")
	put := func() error {
		_, err := client.Put(t.Context(), "key", "value")
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	awaitNextSegment(t, server.DataDir())
	var s syscall.Statfs_t
	if err := syscall.Statfs(disk, &s); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	const left = 100 << 20 // more than writes need, less than a snapshot leaves
	if err := os.WriteFile(ballast, make([]byte, int64(s.Bavail)*s.Bsize-left), 0o600); err != nil {
		t.Fatal(err)
	}
	err := saveTo(t.Context(), client, path)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("snapshot on a full disk: %v", err)
	}
	if err := put(); err != nil {
		t.Errorf("put after it: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := saveTo(t.Context(), client, path); err != nil {
		t.Errorf("snapshot with space again: %v", err)
	}
}
