// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"
)

// heapFloor keeps the collector from running every few megabytes while the heap
// is small, where it would cost a request more than its own work. It counts as
// live heap, so that a collection begins at twice this and what is live; its
// pages are never touched, so it takes no memory.
const heapFloor = 64 << 20

func main() {
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := start(ctx, os.Args[1:])
	if err == nil || errors.Is(err, errPrinted) {
		return
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "keelson:", strings.TrimSuffix(line, "\n"))
	}
	os.Exit(1)
}

// start reads the command line and runs a node until ctx ends or it fails.
func start(ctx context.Context, args []string) error {
	c, err := parse(args, os.Stdout)
	if err != nil {
		return err
	}
	logger, err := newLogger(c)
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }() // a terminal can't be synced, and says so
	for _, n := range c.notes {
		logger.Log(n.level, n.text, n.fields...)
	}
	rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout = c.raftReadTimeout, c.raftWriteTimeout
	if c.logLevel == "debug" {
		grpclog.SetLoggerV2(zapgrpc.NewLogger(logger))
	}
	err = run(ctx, c, logger)
	if err != nil && !c.logsToStderr() {
		logger.Error("keelson ends", zap.Error(err)) // who reads the log wants to see it there, too
	}
	return err
}
