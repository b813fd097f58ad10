// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a whole server in this process: store, log and API on a port.
type node struct {
	*Server
	t      testing.TB
	dir    string
	store  *sqlstore.Store
	log    *raftlog.Log
	lessor *lessor.Lessor
	addr   string
	serve  chan error
	closed bool
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// startNode starts a node of one on dir, which may hold the data of an earlier one.
func startNode(t testing.TB, dir string, opts Options) *node {
	t.Helper()
	return startNodeOver(t, dir, opts, func(l *raftlog.Log) Log { return l })
}

// startNodeOver is startNode with something between server and log.
func startNodeOver(t testing.TB, dir string, opts Options, over func(*raftlog.Log) Log) *node {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	initial := InitialCluster{
		Name: "test", Members: "test=http://127.0.0.1:2380", Token: "token",
		AdvertisePeerURLs: []string{"http://127.0.0.1:2380"},
	}
	identity, err := initial.Identity()
	must(err)
	n := &node{t: t, dir: dir, serve: make(chan error, 1)}
	n.lessor, err = lessor.New(lessor.Options{}, nil)
	must(err)
	users, err := authority.New(authority.Options{Token: authority.SimpleToken, BcryptCost: bcrypt.MinCost})
	must(err)
	n.store, err = sqlstore.Open(testContext(t), sqlstore.Options{
		DB:        sqldb.Options{Path: filepath.Join(dir, "keelson.db"), Clock: systemClock{}},
		OnLease:   ObserveLeases(n.lessor),
		Authority: users,
	})
	must(err)
	opts.Name, opts.ClientURLs = "test", []string{"http://127.0.0.1:2379"}
	registry := prometheus.NewRegistry()
	opts.Registerer, opts.Gatherer = registry, prometheus.Gatherers{registry, prometheus.DefaultGatherer}
	machine := NewStateMachine(n.store, n.lessor, opts)
	n.log, err = raftlog.Open(raftlog.Options{
		DataDir: dir, MemberID: identity.MemberID, ClusterID: identity.ClusterID, Peers: identity.Peers,
		TickInterval: 10 * time.Millisecond,
	}, machine)
	must(err)
	n.Server, err = NewServer(opts, Parts{Store: n.store, Log: over(n.log), StateMachine: machine, Lessor: n.lessor, Authority: users})
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	n.addr = l.Addr().String()
	go func() { n.serve <- n.Serve(l) }()
	t.Cleanup(n.close)
	select {
	case <-n.Ready():
	case <-testContext(t).Done():
		t.Fatal("not ready")
	}
	return n
}

// close stops everything in the order that a process would.
func (n *node) close() {
	if n.closed {
		return
	}
	n.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		n.t.Errorf("stop: %v", err)
	}
	if err := <-n.serve; err != nil {
		n.t.Errorf("serve: %v", err)
	}
	if err := n.log.Stop(ctx); err != nil {
		n.t.Errorf("stop the log: %v", err)
	}
	n.lessor.Close()
	if err := n.store.Close(ctx); err != nil {
		n.t.Errorf("close the store: %v", err)
	}
}

// client returns a client of the node, closed before it.
func (n *node) client() *clientv3.Client {
	n.t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{n.addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() }) // its context may have ended, which is an error to it
	return c
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
