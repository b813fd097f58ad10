// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"keelson.io/keelson/test/e2e/binaries"
	"keelson.io/keelson/test/e2e/fakenode"
	"keelson.io/keelson/test/e2e/proc"
)

// Options say what to start and where.
type Options struct {
	Dir         string // everything of the run; made absolute
	Store       StoreKind
	StoreBinary string
	Kubernetes  binaries.Kubernetes

	Secure          bool          // the store takes clients and members with certificates only, as kubeadm sets it up
	Members         int           // of the store; 0: one
	Nodes           int           // fake nodes; 0: three
	CompactionEvery time.Duration // between two compactions by kube-apiserver; 0: five minutes, its default
}

const (
	defaultMembers    = 1
	defaultNodes      = 3
	defaultCompaction = 5 * time.Minute
)

// serviceRange is where Services get their addresses; its first one belongs to
// the kubernetes Service. No packet is ever sent there.
const serviceRange = "10.96.0.0/16"

var serviceIP = net.IPv4(10, 96, 0, 1)

// Cluster is a running control plane.
type Cluster struct {
	opts       Options
	store      *Datastore
	pki        pki
	server     string // URL of the API server
	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	components []*proc.Process // in the order they were started, the store not among them
	stopNodes  func()
}

// Start brings everything up and returns when /readyz is ok, the controllers
// work and the fake nodes are Ready. On an error, what had been started is
// stopped. ctx bounds the start only; Stop ends the cluster.
func Start(ctx context.Context, opts Options) (_ *Cluster, err error) {
	if err := opts.Store.Valid(); err != nil {
		return nil, err
	}
	if opts.Members == 0 {
		opts.Members = defaultMembers
	}
	if opts.Nodes == 0 {
		opts.Nodes = defaultNodes
	}
	if opts.CompactionEvery == 0 {
		opts.CompactionEvery = defaultCompaction
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, stopNodes: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if c.pki, err = ensurePKI(filepath.Join(opts.Dir, "pki"), serviceIP); err != nil {
		return nil, err
	}
	if c.store, err = newDatastore(opts, c.pki); err != nil {
		return nil, err
	}
	if err := c.store.Start(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		c.startAPIServer, c.startControllerManager, c.startScheduler, c.startNodes,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Store is the datastore under the API server.
func (c *Cluster) Store() *Datastore { return c.store }

// APIServer is the process of kube-apiserver.
func (c *Cluster) APIServer() *proc.Process { return c.component(apiServer) }

// Server is the URL of the API server.
func (c *Cluster) Server() string { return c.server }

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig }

// Client is a client with the administrator's rights and no rate limit.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Components are the processes above the store.
func (c *Cluster) Components() []*proc.Process { return c.components }

// LogDir is the folder of the programs' logs.
func (c *Cluster) LogDir() string { return filepath.Join(c.opts.Dir, "logs") }

// LogTails returns the last lines of every program's log.
func (c *Cluster) LogTails(lines int) string {
	var b strings.Builder
	for _, p := range c.processes() {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Name(), p.LogTail(lines))
	}
	return b.String()
}

// processes are all that run, the store's first.
func (c *Cluster) processes() []*proc.Process {
	var all []*proc.Process
	for _, m := range c.store.Members() {
		all = append(all, m.Process())
	}
	return append(all, c.components...)
}

// FirstExit returns the error of the first process that ends and that nothing
// works without: any but one of several members of the store. It blocks until
// then or until ctx is done, and then returns nil.
func (c *Cluster) FirstExit(ctx context.Context) error {
	all := c.processes()
	if len(c.store.Members()) > 1 {
		all = c.components
	}
	ended := make(chan *proc.Process, len(all))
	stop := make(chan struct{})
	defer close(stop)
	for _, p := range all {
		go func() {
			select {
			case <-p.Done():
				ended <- p
			case <-stop:
			}
		}()
	}
	select {
	case p := <-ended:
		return p.Exited()
	case <-ctx.Done():
		return nil
	}
}

// Stop takes everything down, the store last.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stopNodes()
	var errs []error
	for i := len(c.components) - 1; i >= 0; i-- {
		errs = append(errs, c.components[i].Stop(ctx))
	}
	if c.store != nil {
		errs = append(errs, c.store.Stop(ctx))
	}
	return errors.Join(errs...)
}

// startNodes runs the fake nodes and waits until the control plane sees them
// Ready.
func (c *Cluster) startNodes(ctx context.Context) error {
	nodes := fakenode.New(c.client, c.opts.Nodes)
	if err := nodes.Register(ctx); err != nil {
		return err
	}
	// Nodes live on when the start's deadline has passed, until Stop.
	nodesCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		nodes.Run(nodesCtx)
	}()
	c.stopNodes = func() {
		cancel()
		<-done
	}
	return await(ctx, "waiting for schedulable nodes", c.component(controllerManager), nodes.Schedulable)
}

func (c *Cluster) component(name string) *proc.Process {
	for _, p := range c.components {
		if p.Name() == name {
			return p
		}
	}
	panic("no component " + name)
}

// startComponent runs a program whose log is named after it.
func (c *Cluster) startComponent(name, binary string, args ...string) (*proc.Process, error) {
	p, err := proc.Start(proc.Spec{
		Name:    name,
		Binary:  binary,
		Args:    args,
		Dir:     c.opts.Dir,
		LogPath: filepath.Join(c.LogDir(), name+".log"),
	})
	if err != nil {
		return nil, err
	}
	c.components = append(c.components, p)
	return p, nil
}

// healthTimeout bounds one look at a health endpoint.
const healthTimeout = 5 * time.Second
