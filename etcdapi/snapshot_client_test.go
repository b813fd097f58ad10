// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/sqlstore/backend"
)

// fillStore writes some megabytes, more than a stream takes without a reader.
func fillStore(t *testing.T, c *clientv3.Client) {
	t.Helper()
	for i := range 8 {
		if _, err := c.Put(testContext(t), fmt.Sprint("key-", i), strings.Repeat("x", 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
}

// deletedFiles counts the open files of this process that have no name any more.
func deletedFiles(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("needs Linux: %v", err)
	}
	for _, fd := range fds {
		// One that was closed meanwhile has no link.
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasSuffix(name, "(deleted)") {
			n++
		}
	}
	return n
}

// A snapshot's messages are as etcd's: chunks of 32 KiB that count down, and the
// hash of all of them.
func TestSnapshotMessages(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c := n.client()
	fillStore(t, c)
	stream, err := pb.NewMaintenanceClient(c.ActiveConnection()).Snapshot(testContext(t), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var blob, last []byte
	for before := uint64(1<<63 - 1); ; {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if before == 0 { // the hash
			last = m.Blob
			continue
		}
		blob = append(blob, m.Blob...)
		if m.Version != "3.7.0" || m.RemainingBytes >= before || m.RemainingBytes > 0 && len(m.Blob) != 32<<10 {
			t.Errorf("version %q, %d bytes, %d remain of %d", m.Version, len(m.Blob), m.RemainingBytes, before)
		}
		before = m.RemainingBytes
	}
	if sum := sha256.Sum256(blob); !bytes.Equal(last, sum[:]) || len(blob)%4096 != 0 {
		t.Errorf("%d bytes with hash %x, want %x", len(blob), last, sum)
	}
	eventually(t, "the file is closed", func() bool { return deletedFiles(t) == 0 })
}

// Clients that stop reading, or go away, cost nobody else the snapshot.
func TestSnapshotAbandoned(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{SnapshotStreams: 1, ClientStallTimeout: 300 * time.Millisecond})
	c := n.client()
	fillStore(t, c)
	open := func(ctx context.Context) pb.Maintenance_SnapshotClient {
		t.Helper()
		stream, err := pb.NewMaintenanceClient(c.ActiveConnection()).Snapshot(ctx, &pb.SnapshotRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	gone, cancel := context.WithCancel(testContext(t))
	open(gone)
	cancel()
	stalled := open(testContext(t))
	open(testContext(t)) // waits until the other has been ended
	for {
		_, err := stalled.Recv()
		if err == nil {
			continue // what was on its way
		}
		if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "stopped reading") {
			t.Errorf("the stalled stream ended with %v", err)
		}
		break
	}
	eventually(t, "the files are closed", func() bool { return deletedFiles(t) == 0 })
}

// A server that stops does not wait for a snapshot's reader.
func TestSnapshotStop(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{SnapshotStreams: 1})
	c := n.client()
	fillStore(t, c)
	m := pb.NewMaintenanceClient(c.ActiveConnection())
	ctx := testContext(t)
	sent, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
	if err == nil {
		_, err = sent.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { _, err := waiting.Recv(); end <- err }()
	stopped := make(chan struct{})
	go func() { n.close(); close(stopped) }()
	if err := <-end; status.Code(err) != codes.Unavailable {
		t.Errorf("who waits is told %v", err)
	}
	for {
		if _, err := sent.Recv(); err != nil {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("who reads is told %v", err)
			}
			break
		}
	}
	<-stopped
	if left := deletedFiles(t); left > 0 {
		t.Errorf("%d files are open", left)
	}
}

func TestSnapshotErrors(t *testing.T) {
	err := grpcError(fmt.Errorf("%w: 3 bytes", backend.ErrNoSpace))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "not enough disk space") {
		t.Errorf("error %v", err)
	}
}
