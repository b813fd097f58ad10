// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// config is what the command line says.
type config struct {
	peers    []string
	rows     *regexp.Regexp
	rounds   int
	duration time.Duration
	pods     int    // of the rows on a usual store
	manyPods int    // of the rows on a big store
	dir      string // below which everything is kept while the program runs
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, cfg, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the command line. It writes usage to out.
func parse(args []string, out io.Writer) (config, error) {
	var (
		cfg         config
		peers, rows string
	)
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&peers, "peers", "etcd,floor,keelson", "servers to measure, with commas between; the first is what the others are compared with")
	flags.StringVar(&rows, "rows", ".", "regular expression of the rows to measure, by name")
	flags.IntVar(&cfg.rounds, "rounds", 3, "times that each row is measured on each peer")
	flags.DurationVar(&cfg.duration, "duration", 10*time.Second, "time that each row is measured")
	flags.IntVar(&cfg.pods, "pods", 20_000, "objects of 1 KiB in a usual store")
	flags.IntVar(&cfg.manyPods, "many-pods", 300_000, "objects of 1 KiB in a big store")
	flags.StringVar(&cfg.dir, "dir", os.TempDir(), "folder for data directories; it should be on a disk and not in memory")
	list := flags.Bool("list", false, "print the rows' names and stop")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if *list {
		for _, r := range allRows(cfg) {
			fmt.Fprintf(out, "%-16s %s\n", r.name, r.title)
		}
		return config{}, flag.ErrHelp
	}
	var err error
	if cfg.rows, err = regexp.Compile(rows); err != nil {
		return config{}, fmt.Errorf("-rows: %w", err)
	}
	cfg.peers = strings.Split(peers, ",")
	switch {
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case cfg.rounds < 1 || cfg.duration <= 0 || cfg.pods < 1 || cfg.manyPods < 1:
		return config{}, errors.New("-rounds, -duration, -pods and -many-pods must be positive")
	}
	return cfg, nil
}

// run measures and prints the table to out, and what it is doing to progress.
func run(ctx context.Context, cfg config, out, progress io.Writer) (err error) {
	rows := selectRows(cfg)
	if len(rows) == 0 {
		return fmt.Errorf("no row is called %q: -list prints all", cfg.rows)
	}
	dir, err := os.MkdirTemp(cfg.dir, "keelson-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintln(progress, "building", strings.Join(cfg.peers, ", "))
	peers, err := buildPeers(ctx, cfg.peers, dir)
	if err != nil {
		return err
	}
	m := &measurer{cfg: cfg, dir: dir, progress: progress, results: make(results)}
	err = m.measure(ctx, peers, rows)
	// What was measured is worth printing whatever happened then.
	return errors.Join(err, printTable(out, peers, rows, m.results))
}

func selectRows(cfg config) []row {
	var rows []row
	for _, r := range allRows(cfg) {
		if cfg.rows.MatchString(r.name) {
			rows = append(rows, r)
		}
	}
	return rows
}
