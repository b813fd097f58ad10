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
	"strings"
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
	members   int
	fakeNodes int
	every     time.Duration
	buildOnly bool
}

func parseFlags(args []string) (options, error) {
	var o options
	store := string(controlplane.StoreKeelson)
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "folder of everything that the run keeps (default: demo.keelson in the repository)")
	flags.StringVar(&store, "store", store, "the datastore: keelson, or etcd for comparison")
	flags.IntVar(&o.members, "nodes", 1, "nodes of the datastore: 1, 3 or 5")
	flags.IntVar(&o.fakeNodes, "fake-nodes", 3, "nodes that Pods are said to run on")
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
	if err == nil && (o.members < 1 || o.fakeNodes < 1 || o.every <= 0) {
		err = errors.New("--nodes, --fake-nodes and --every must be above zero")
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
		if o.members > 1 {
			// Another cluster than that of a single node, which stays as it is.
			o.dir = filepath.Join(o.dir, fmt.Sprintf("%d-nodes", o.members))
		}
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
		streamStatus(running, cluster.Store().ClientURLs(), o.every)
	}()
	membersDone := make(chan struct{})
	go func() {
		defer close(membersDone)
		keepMembers(running, cluster.Store(), say)
	}()
	exited := cluster.FirstExit(ctx)
	stopStatus()
	<-statusDone
	<-membersDone
	say("stopping")
	return errors.Join(exited, cluster.Stop(context.WithoutCancel(ctx)))
}

// build makes sure of all programs and says what to start.
func build(ctx context.Context, builder *binaries.Builder, o options) (controlplane.Options, error) {
	plan := controlplane.Options{Dir: o.dir, Store: o.store, Members: o.members, Nodes: o.fakeNodes}
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
%[8]s
Ctrl-C stops everything. The next start on the same folder finds what was stored.

`, plan.Kubernetes.Version, plan.Store, cluster.Kubeconfig(), cluster.Server(),
		strings.Join(cluster.Store().ClientURLs(), ","), filepath.Dir(cluster.LogDir()), alias, memberList(cluster.Store()))
}

// memberList tells how to kill a member, empty if there is only one.
func memberList(store *controlplane.Datastore) string {
	members := store.Members()
	if len(members) == 1 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nKill any one of the store's processes and see kubectl go on; it is started again after a while.\n\n")
	for _, m := range members {
		fmt.Fprintf(&b, "  kill -9 %-8d # %s, %s\n", m.Process().PID(), m.Name(), m.ClientURL())
	}
	return b.String()
}
