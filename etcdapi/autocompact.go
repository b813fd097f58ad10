// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/etcdapi/compactor"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/wire"
)

// autoCompact compacts the store as Options.AutoCompaction says, while this member
// leads, until the server stops.
func (s *Server) autoCompact() {
	compactor.Run(s.stop, compactor.Options{
		Clock: s.opts.Clock, Logger: s.opts.Logger, Retention: s.opts.AutoCompaction,
		Revision: s.store.Revision,
		Leads:    func() bool { return s.log.Leader() == s.memberID },
		Compact: func(ctx context.Context, revision int64) error {
			_, err := s.proposeMessage(ctx, wire.KindCompaction, &pb.CompactionRequest{Revision: revision})
			if errors.Is(err, sqlstore.ErrCompacted) {
				return nil // a client was first
			}
			return err
		},
	})
}
