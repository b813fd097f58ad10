// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"keelson.io/keelson/test/e2e/binaries"
	"keelson.io/keelson/test/e2e/controlplane"
)

const (
	startTimeout = 3 * time.Minute
	roundTimeout = 10 * time.Minute
)

type options struct {
	stores []controlplane.StoreKind // the first one is what the others are compared with
	rounds int
	work   workload
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cpbench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "cpbench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	var stores string
	flags := flag.NewFlagSet("cpbench", flag.ContinueOnError)
	flags.StringVar(&stores, "stores", "etcd,keelson", "datastores, comma separated; ratios are to the first")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds; medians are printed")
	flags.IntVar(&o.work.configMaps, "configmaps", 2000, "ConfigMaps created, 1 KiB each, by 16 clients")
	flags.IntVar(&o.work.pods, "pods", 500, "replicas that a Deployment is scaled to")
	flags.DurationVar(&o.work.idle, "idle", 20*time.Second, "time of the idle measurement")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(stores, ",") {
		kind := controlplane.StoreKind(name)
		if err := kind.Valid(); err != nil {
			return o, err
		}
		o.stores = append(o.stores, kind)
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.work.configMaps < 1 || o.work.pods < 1 || o.work.idle <= 0 {
		return o, fmt.Errorf("no arguments are taken, and every number must be above zero")
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "keelson-cpbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	say := func(line string) { fmt.Fprintln(os.Stderr, "cpbench:", line) }
	builder, err := binaries.New(ctx, say)
	if err != nil {
		return err
	}
	kubernetes, err := builder.Kubernetes(ctx)
	if err != nil {
		return err
	}
	storeBinaries := make(map[controlplane.StoreKind]string)
	for _, kind := range o.stores {
		build := builder.Keelson
		if kind == controlplane.StoreEtcd {
			build = builder.Etcd
		}
		if storeBinaries[kind], err = build(ctx, filepath.Join(dir, "bin")); err != nil {
			return err
		}
	}
	results := newResults(o.stores)
	for round := range o.rounds {
		for _, kind := range o.stores {
			say(fmt.Sprintf("round %d of %d: %s", round+1, o.rounds, kind))
			measured, err := runRound(ctx, o.work, controlplane.Options{
				Dir:         filepath.Join(dir, fmt.Sprintf("%s-%d", kind, round)),
				Store:       kind,
				StoreBinary: storeBinaries[kind],
				Kubernetes:  kubernetes,
			})
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, kind, err)
			}
			for _, s := range measured {
				say(fmt.Sprintf("%s: store CPU %.2f s, kube-apiserver CPU %.2f s, in %.1f s", o.work.name(s.phase),
					s.cpu.Seconds(), s.api.Seconds(), s.wall.Seconds()))
			}
			results.add(kind, measured)
		}
	}
	fmt.Print(results.markdown(o.work))
	return nil
}

// runRound starts a control plane, measures it and takes it down.
func runRound(ctx context.Context, work workload, plan controlplane.Options) (_ []sample, err error) {
	startCtx, cancelStart := context.WithTimeout(ctx, startTimeout)
	defer cancelStart()
	cluster, err := controlplane.Start(startCtx, plan)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := cluster.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	workCtx, cancelWork := context.WithTimeout(ctx, roundTimeout)
	defer cancelWork()
	return work.measure(workCtx, cluster)
}
