// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/etcd"
)

// prefix is flannel's own default.
const prefix = "/coreos.com/network"

// renewMargin is flannel's own default, in minutes.
const renewMargin = 60

func main() {
	endpoints := flag.String("endpoints", "", "where etcd is, with commas")
	address := flag.String("public-ip", "", "the node's address")
	flag.Parse()
	if err := run(strings.Split(*endpoints, ","), *address); err != nil {
		fmt.Fprintln(os.Stderr, "flannel:", err)
		os.Exit(1)
	}
}

// report prints what has become of a subnet, a line each.
type report struct {
	mu sync.Mutex
	to io.Writer
}

func (r *report) say(what string, l *lease.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.to, what, l.Subnet, l.Attrs.PublicIP)
}

// run is the part of flanneld's main that has to do with etcd.
func run(endpoints []string, address string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	publicIP, err := ip.ParseIP4(address)
	if err != nil {
		return fmt.Errorf("--public-ip: %w", err)
	}
	manager, err := etcd.NewLocalManager(ctx, &etcd.EtcdConfig{Endpoints: endpoints, Prefix: prefix}, ip.IP4Net{}, ip.IP6Net{}, renewMargin)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	own, err := manager.AcquireLease(ctx, &lease.LeaseAttrs{PublicIP: publicIP, BackendType: "vxlan", BackendData: json.RawMessage(`{}`)})
	if err != nil {
		return fmt.Errorf("acquire a subnet: %w", err)
	}
	said := &report{to: os.Stdout}
	said.say("acquired", own)

	events := make(chan []lease.Event)
	go subnet.WatchLeases(ctx, manager, own, events)
	go func() {
		for batch := range events {
			for i := range batch {
				said.say(map[lease.EventType]string{lease.EventAdded: "added", lease.EventRemoved: "removed"}[batch[i].Type], &batch[i].Lease)
			}
		}
	}()
	lost := make(chan error, 1)
	kept := *own
	go func() {
		var watchers sync.WaitGroup
		lost <- manager.CompleteLease(ctx, &kept, &watchers)
	}()
	renew := make(chan bool)
	go func() {
		defer close(renew)
		for input := bufio.NewScanner(os.Stdin); input.Scan(); {
			renew <- true
		}
	}()
	for {
		select {
		case err := <-lost:
			said.say("lost", own)
			return fmt.Errorf("keep the subnet: %w", err)
		case _, ok := <-renew:
			if !ok {
				return nil
			}
			if err := manager.RenewLease(ctx, own); err != nil {
				return fmt.Errorf("renew the subnet: %w", err)
			}
			said.say("renewed", own)
		}
	}
}
