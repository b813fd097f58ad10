// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"

	"keelson.io/keelson/sqlstore"
)

const (
	// snapshotChunkBytes is how much of a snapshot one message carries, as in etcd.
	snapshotChunkBytes = 32 << 10
	// A transfer is logged as slow when it takes longer than it would at this many
	// bytes a second, and longer than the minimum. Both are etcd's.
	snapshotSlowRate    = 100 << 20
	snapshotSlowMinimum = 30 * time.Second
)

func newMaintenance(c *core) *maintenanceService {
	return &maintenanceService{core: c, snapshots: make(chan struct{}, c.opts.SnapshotStreams)}
}

// Snapshot sends the store as an etcd backend file, and then its SHA-256. The file is
// made first, of all that is applied when it is this request's turn; no write waits.
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	select {
	case s.snapshots <- struct{}{}:
	case <-ctx.Done():
		return s.snapshotError(ctx.Err())
	}
	snapshot, err := s.store.OpenBackend(ctx)
	if err != nil {
		<-s.snapshots
		s.opts.Logger.Warn("failed to make a database snapshot for a client", zap.Error(err))
		return s.snapshotError(err)
	}
	t := &snapshotTransfer{
		core: s.core, stream: stream, snapshot: snapshot, start: s.opts.Clock.Now(), ended: make(chan error, 1),
	}
	go func() {
		err := t.send()
		err = errors.Join(err, snapshot.Body.Close())
		<-s.snapshots
		t.ended <- err
	}()
	return s.snapshotError(t.watch(ctx))
}

// snapshotError gives the end of a snapshot its place in the API.
func (s *maintenanceService) snapshotError(err error) error {
	if err != nil && s.stop.Err() != nil {
		err = sqlstore.ErrClosed
	}
	return grpcError(err)
}

// snapshotTransfer is a snapshot on its way to a client.
type snapshotTransfer struct {
	*core
	stream   pb.Maintenance_SnapshotServer
	snapshot *sqlstore.Snapshot
	start    time.Time
	chunks   atomic.Int64 // sent
	ended    chan error   // capacity 1
}

// watch returns when the transfer has ended, or should have. In the latter case send
// is stuck in a message that the client does not take; it is freed by the end of the
// stream, which is that of the handler.
func (t *snapshotTransfer) watch(ctx context.Context) error {
	stall := t.opts.Clock.NewTicker(t.opts.ClientStallTimeout)
	defer stall.Stop()
	expected := time.Duration(float64(t.snapshot.Size) / snapshotSlowRate * float64(time.Second))
	slow := t.opts.Clock.NewTicker(max(expected, snapshotSlowMinimum))
	defer slow.Stop()
	for before := int64(-1); ; {
		select {
		case err := <-t.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-slow.Chan():
			t.opts.Logger.Warn("snapshotting taking too long to transfer", zap.Duration("taking", t.since(t.start)),
				zap.Int64("bytes", t.snapshot.Size), zap.String("size", t.size()))
		case <-stall.Chan():
			now := t.chunks.Load()
			if now == before {
				t.opts.Logger.Warn("a client has stopped reading its database snapshot",
					zap.Int64("sent-bytes", now*snapshotChunkBytes), zap.Int64("total-bytes", t.snapshot.Size))
				return errSnapshotStalled
			}
			before = now
		}
	}
}

func (t *snapshotTransfer) size() string { return humanize.Bytes(uint64(t.snapshot.Size)) }

// send sends everything.
func (t *snapshotTransfer) send() error {
	total, version := t.snapshot.Size, t.snapshot.StorageVersion
	log := t.opts.Logger
	log.Info("sending database snapshot to client", zap.Int64("total-bytes", total), zap.String("size", t.size()),
		zap.String("storage-version", version))
	sum := sha256.New()
	chunk := make([]byte, snapshotChunkBytes) // sending copies it
	for sent := int64(0); sent < total; {
		n, err := io.ReadFull(t.snapshot.Body, chunk[:min(int64(len(chunk)), total-sent)])
		if err != nil {
			return err
		}
		sent += int64(n)
		sum.Write(chunk[:n])
		if err := t.message(chunk[:n], total-sent); err != nil {
			return err
		}
	}
	digest := sum.Sum(nil)
	log.Info("sending database sha256 checksum to client", zap.Int64("total-bytes", total), zap.Int("checksum-size", len(digest)))
	if err := t.message(digest, 0); err != nil {
		return err
	}
	log.Info("successfully sent database snapshot to client", zap.Int64("total-bytes", total), zap.String("size", t.size()),
		zap.Duration("took", t.since(t.start)), zap.String("storage-version", version))
	return nil
}

func (t *snapshotTransfer) message(blob []byte, remaining int64) error {
	err := t.stream.Send(&pb.SnapshotResponse{
		RemainingBytes: uint64(remaining), Blob: blob, Version: t.snapshot.StorageVersion,
	})
	t.chunks.Add(1)
	return err
}
