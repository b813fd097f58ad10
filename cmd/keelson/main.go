// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	if slices.ContainsFunc(os.Args[1:], func(a string) bool { return a == "--version" || a == "-version" }) {
		printVersion(os.Stdout)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := start(ctx, os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "keelson:", err)
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
	return run(ctx, c, logger)
}
