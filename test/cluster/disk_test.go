// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// Sizes of TestFullDisk. The log reserves segments of 64 MiB before it needs them, two at a time, and wants to find room for a
// third.
const (
	diskBytes      = 400 << 20
	ballastBlock   = 1 << 20
	fullValueBytes = 256 << 10
	mostFullWrites = 2000
)

// TestFullDisk lets the disk run full under a server. Writes fail and say why, reads go on, and when there is space again writes go on,
// too. Nothing that was acknowledged is lost.
func TestFullDisk(t *testing.T) {
	keelsonOnly(t)
	disk := smallDisk(t)
	server := harness.Start(t, serverKind(t), harness.Options{DataDir: filepath.Join(disk, "data")})
	conn := server.Conn(t)
	client := pb.NewKVClient(conn)
	acked := map[string]string{}
	var serial int
	put := func() error {
		serial++
		key, value := fmt.Sprintf("key-%04d", serial%100), fmt.Sprintf("%d %s", serial, strings.Repeat("x", fullValueBytes))
		ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
		defer cancel()
		_, err := client.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
		if err == nil {
			acked[key] = value
		} else {
			// It may have happened: what the key holds is known again when it is written again.
			delete(acked, key)
		}
		return err
	}
	for range 20 {
		if err := put(); err != nil {
			t.Fatalf("put with space left: %v", err)
		}
	}
	ballast := fillDisk(t, disk)
	writeUntilFull(t, put)
	checkAcked(t, client, acked)
	if !server.Running() {
		t.Fatal("the server has ended")
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	wantSoon(t, "writes to go on", put)
	checkAcked(t, client, acked)
	server.Kill()
	server.Restart()
	checkAcked(t, client, acked)
	wantSoon(t, "writes after the restart", put)
}

// smallDisk mounts a file system of its own, so that it alone runs full.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skipf("needs the right to mount a small file system: %v", err)
		}
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small file system: %v", err)
		}
	})
	return dir
}

// fillDisk writes a file until no byte is left.
func fillDisk(t *testing.T, disk string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(disk, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := ballastBlock; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatalf("fill the disk: %v", err)
		}
	}
	return ballast
}

// writeUntilFull writes until the server says that it has no space, in a way that a client can tell from other errors. The write
// during which it noticed may end without a clear answer: it is on its way, and may still happen.
func writeUntilFull(t *testing.T, put func() error) {
	t.Helper()
	var unclear []error
	for range mostFullWrites {
		err := put()
		if err == nil {
			continue
		}
		if status.Convert(err).String() == status.Convert(rpctypes.ErrGRPCNoSpace).String() {
			return
		}
		if unclear = append(unclear, err); len(unclear) > 1 {
			t.Fatalf("writes to a full disk are answered by %v, want %v", unclear, rpctypes.ErrGRPCNoSpace)
		}
	}
	t.Fatalf("%d writes of %d bytes fit on a full disk", mostFullWrites, fullValueBytes)
}

// checkAcked reads what was acknowledged.
func checkAcked(t *testing.T, client pb.KVClient, acked map[string]string) {
	t.Helper()
	for key, value := range acked {
		ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
		resp, err := client.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
		cancel()
		if err != nil {
			t.Fatalf("get %s: %v", key, err)
		}
		if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != value {
			t.Errorf("%s was acknowledged, and is lost", key)
		}
	}
}

// wantSoon tries until there is no error.
func wantSoon(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(serveTimeout)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
