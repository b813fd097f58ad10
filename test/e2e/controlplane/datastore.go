// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"keelson.io/keelson/test/e2e/promtext"
)

// StoreKind names a datastore that can stand under the control plane.
type StoreKind string

// The datastores known here. Both take etcd's flags.
const (
	StoreKeelson StoreKind = "keelson"
	StoreEtcd    StoreKind = "etcd"
)

// Valid returns an error that lists the known kinds if k is none of them.
func (k StoreKind) Valid() error {
	switch k {
	case StoreKeelson, StoreEtcd:
		return nil
	}
	return fmt.Errorf("unknown store %q: want %s or %s", k, StoreKeelson, StoreEtcd)
}

// Datastore is a store of one or more members.
type Datastore struct {
	members   []*Member
	clientTLS *tls.Config // nil: clients use no TLS
}

// newDatastore finds out where the members of opts are to be. Their addresses are kept with their data: members
// look for each other where they were.
func newDatastore(opts Options, p pki) (*Datastore, error) {
	addresses, err := ensureAddresses(opts.Dir, opts.Members, opts.Secure)
	if err != nil {
		return nil, err
	}
	var cluster []string
	for i, a := range addresses {
		cluster = append(cluster, memberName(i)+"="+a.Peer)
	}
	d := new(Datastore)
	var args []string
	if opts.Secure {
		args = p.storeArgs()
		if d.clientTLS, err = p.clientTLS(storeClientName); err != nil {
			return nil, err
		}
	}
	for i, a := range addresses {
		m := newMember(opts, memberName(i), a, strings.Join(cluster, ","))
		m.args = args
		d.members = append(d.members, m)
	}
	return d, nil
}

func memberName(i int) string { return fmt.Sprintf("store%d", i+1) }

// Members are the processes, each of which may be killed and started on its own.
func (d *Datastore) Members() []*Member { return d.members }

// ClientTLS is what an etcd client needs to be served, nil without TLS.
func (d *Datastore) ClientTLS() *tls.Config { return d.clientTLS.Clone() }

// ClientURLs are where etcd clients are served, one of each member; without TLS /health and /metrics are there, too.
func (d *Datastore) ClientURLs() []string {
	var urls []string
	for _, m := range d.members {
		urls = append(urls, m.ClientURL())
	}
	return urls
}

// Start runs all members and waits until each is healthy.
func (d *Datastore) Start(ctx context.Context) error {
	for _, m := range d.members {
		if err := m.run(); err != nil {
			return err
		}
	}
	for _, m := range d.members {
		if err := m.awaitHealthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all members by SIGTERM, one after the other.
func (d *Datastore) Stop(ctx context.Context) error {
	var errs []error
	for _, m := range d.members {
		if m.process != nil {
			errs = append(errs, m.process.Stop(ctx))
		}
	}
	return errors.Join(errs...)
}

// Leader asks the members who leads.
func (d *Datastore) Leader(ctx context.Context) (*Member, error) {
	var errs []error
	for _, m := range d.members {
		samples, err := promtext.Fetch(ctx, m.metricsURL+"/metrics")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if samples.Sum("etcd_server_is_leader", nil) == 1 {
			return m, nil
		}
	}
	return nil, errors.Join(append(errs, errors.New("no member leads"))...)
}
