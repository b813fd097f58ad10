// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// notifySystemd tells systemd, if it has started this process and wants to know
// (Type=notify), that clients are served.
func (n *node) notifySystemd(ctx context.Context) {
	select {
	case <-n.server.Ready():
	case <-ctx.Done():
		return
	}
	told, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	switch {
	case err != nil:
		n.logger.Error("failed to notify systemd for readiness", zap.Error(err))
	case told:
		n.logger.Info("successfully notified init daemon")
	}
}
