// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"keelson.io/keelson/test/e2e/binaries"
	"keelson.io/keelson/test/e2e/controlplane"
)

const startTimeout = 3 * time.Minute

func main() {
	opts, err := parseFlags(os.Args[1:])
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type options struct {
	dir       string
	store     controlplane.StoreKind
	nodes     int
	every     time.Duration
	buildOnly bool
}

func parseFlags(args []string) (options, error) {
	var o options
	store := string(controlplane.StoreKeelson)
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "folder of everything that the run keeps (default: demo.keelson in the repository)")
	flags.StringVar(&store, "store", store, "the datastore: keelson, or etcd for comparison")
	flags.IntVar(&o.nodes, "nodes", 3, "fake nodes")
	flags.DurationVar(&o.every, "every", 5*time.Second, "time between two lines of status")
	flags.BoolVar(&o.buildOnly, "build-only", false, "build what the demo needs and stop")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.store = controlplane.StoreKind(store)
	err := o.store.Valid()
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil && (o.nodes < 1 || o.every <= 0) {
		err = errors.New("--nodes and --every must be above zero")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	return o, err
}

func run(ctx context.Context, o options) error {
	say := func(line string) { fmt.Println("demo:", line) }
	builder, err := binaries.New(ctx, say)
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = filepath.Join(builder.RepoDir(), "demo.keelson")
	}
	plan, err := build(ctx, builder, o)
	if err != nil || o.buildOnly {
		return interruptedIsFine(ctx, err)
	}
	say("starting " + string(o.store) + ", kube-apiserver, kube-controller-manager and kube-scheduler")
	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cluster, err := controlplane.Start(startCtx, plan)
	if err != nil {
		return interruptedIsFine(ctx, err)
	}
	printUsage(cluster, plan)

	running, stopStatus := context.WithCancel(ctx)
	statusDone := make(chan struct{})
	go func() {
		defer close(statusDone)
		streamStatus(running, cluster.Store().ClientURL(), o.every)
	}()
	exited := cluster.FirstExit(ctx)
	stopStatus()
	<-statusDone
	say("stopping")
	return errors.Join(exited, cluster.Stop(context.WithoutCancel(ctx)))
}

// build makes sure of all programs and says what to start.
func build(ctx context.Context, builder *binaries.Builder, o options) (controlplane.Options, error) {
	plan := controlplane.Options{Dir: o.dir, Store: o.store, Nodes: o.nodes}
	buildStore := builder.Keelson
	if o.store == controlplane.StoreEtcd {
		buildStore = builder.Etcd
	}
	var err error
	if plan.StoreBinary, err = buildStore(ctx, filepath.Join(o.dir, "bin")); err != nil {
		return plan, err
	}
	plan.Kubernetes, err = builder.Kubernetes(ctx)
	return plan, err
}

// interruptedIsFine: a Ctrl-C during the build or the start is what the user
// wanted, whatever error it caused on its way.
func interruptedIsFine(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func printUsage(cluster *controlplane.Cluster, plan controlplane.Options) {
	alias := ""
	if _, err := exec.LookPath("kubectl"); err != nil { // then one was built
		alias = "  alias kubectl=" + plan.Kubernetes.Kubectl + "\n"
	}
	fmt.Printf(`
A Kubernetes %[1]s control plane is running on %[2]s. In another terminal:

%[7]s  export KUBECONFIG=%[3]s
  kubectl get nodes
  kubectl create deployment web --image=nginx --replicas=20
  kubectl get pods -w

The nodes are fake: Pods are scheduled and said to run, but no container starts.

  API server   %[4]s
  %-12[2]s %[5]s (any etcd client; /metrics)
  data, logs   %[6]s

Ctrl-C stops everything. The next start on the same folder finds what was stored.

`, plan.Kubernetes.Version, plan.Store, cluster.Kubeconfig(), cluster.Server(),
		cluster.Store().ClientURL(), filepath.Dir(cluster.LogDir()), alias)
}
