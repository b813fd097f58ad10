// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/peer"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
)

// trio is a cluster of three members in this process. Raft's messages go through
// channels, questions about leases and hashes through HTTP.
type trio struct {
	t       *testing.T
	members []*third
	readers sync.WaitGroup
}

// third is one of a trio.
type third struct {
	*Server
	name   string
	id     uint64
	store  *sqlstore.Store
	log    *raftlog.Log
	lessor *lessor.Lessor
	users  *authority.Authority
	// time is the lessor's clock; paused stops raft's, and all messages.
	time   *clockwork.FakeClock
	paused atomic.Bool
	peer   *httptest.Server
	addr   string // of clients
	inbox  chan *raftpb.Message
	hashes *switched
	logs   *observer.ObservedLogs
	serve  chan error
	dbPath string
}

// trioOptions vary a trio.
type trioOptions struct {
	checkpointInterval time.Duration
	// clocks are the lessors' at the start, by name. Default: all now.
	clocks map[string]time.Time
}

// link is a member's way to the others.
type link struct {
	trio *trio
	from *third
}

func (l link) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		to := l.trio.byID(m.GetTo())
		if to == nil || to.paused.Load() || l.from.paused.Load() {
			continue
		}
		select {
		case to.inbox <- m:
		default:
		}
	}
}

func (l link) AddPeer(uint64, []string)    {}
func (l link) UpdatePeer(uint64, []string) {}
func (l link) RemovePeer(uint64)           {}
func (l link) RemoveAllPeers()             {}

// ActiveSince is long ago for a member of the trio that runs.
func (l link) ActiveSince(id uint64) time.Time {
	if m := l.trio.byID(id); m != nil && !m.paused.Load() {
		return time.Unix(1, 0)
	}
	return time.Time{}
}

// Kind is what the whole trio is.
func (l link) Kind(context.Context, uint64) (peer.Kind, error) { return peer.Keelson, nil }

func (l link) SendSnapshot(_ *raftpb.Message, s *raftlog.StateSnapshot) { _ = s.Body.Close() }

// pausedClock is raft's clock in a process that can be stopped.
type pausedClock struct {
	raftlog.Clock
	paused *atomic.Bool
}

func (c pausedClock) NewTicker(d time.Duration) raftlog.Ticker {
	t := &pausedTicker{Ticker: c.Clock.NewTicker(d), c: make(chan time.Time, 1), done: make(chan struct{})}
	go func() {
		for {
			select {
			case now := <-t.Ticker.C():
				if c.paused.Load() {
					continue
				}
				select {
				case t.c <- now:
				default:
				}
			case <-t.done:
				return
			}
		}
	}()
	return t
}

type pausedTicker struct {
	raftlog.Ticker
	c    chan time.Time
	done chan struct{}
}

func (t *pausedTicker) C() <-chan time.Time { return t.c }
func (t *pausedTicker) Stop() {
	t.Ticker.Stop()
	close(t.done)
}

func startTrio(t *testing.T, opts trioOptions) *trio {
	t.Helper()
	c := &trio{t: t}
	var initial []string
	for _, name := range []string{"anna", "ben", "cleo"} {
		m := &third{
			name: name, time: clockwork.NewFakeClock(), inbox: make(chan *raftpb.Message, 4096), serve: make(chan error, 1),
			peer: httptest.NewUnstartedServer(nil),
		}
		if at, ok := opts.clocks[name]; ok {
			m.time = clockwork.NewFakeClockAt(at)
		}
		initial = append(initial, name+"="+m.url())
		c.members = append(c.members, m)
	}
	identities := make([]Identity, len(c.members))
	for i, m := range c.members {
		var err error
		identities[i], err = InitialCluster{
			Name: m.name, Members: strings.Join(initial, ","), Token: "trio", AdvertisePeerURLs: []string{m.url()},
		}.Identity()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Before any log runs, for the logs send.
	for i, m := range c.members {
		c.openStore(m, opts)
		m.id = identities[i].MemberID
	}
	for i, m := range c.members {
		c.startMember(m, identities[i])
	}
	for _, m := range c.members {
		select {
		case <-m.Ready():
		case <-testContext(t).Done():
			t.Fatalf("%s is not ready", m.name)
		}
	}
	return c
}

func (m *third) url() string { return "http://" + m.peer.Listener.Addr().String() }

func (c *trio) openStore(m *third, opts trioOptions) {
	c.t.Helper()
	var err error
	m.lessor, err = lessor.New(lessor.Options{Clock: m.time, CheckpointInterval: opts.checkpointInterval}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	m.dbPath = filepath.Join(c.t.TempDir(), "keelson.db")
	m.users, err = authority.New(authority.Options{Token: authority.SimpleToken, BcryptCost: bcrypt.MinCost})
	if err != nil {
		c.t.Fatal(err)
	}
	m.store, err = sqlstore.Open(testContext(c.t), sqlstore.Options{
		DB: sqldb.Options{Path: m.dbPath, Clock: systemClock{}}, OnLease: ObserveLeases(m.lessor), Authority: m.users,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// electionTimeout of a trio: long enough for a busy machine.
const electionTimeout = 400 * time.Millisecond

func (c *trio) startMember(m *third, identity Identity) {
	c.t.Helper()
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	core, logs := observer.New(zap.InfoLevel)
	m.logs = logs
	registry := prometheus.NewRegistry()
	api := Options{
		Name: m.name, ClientURLs: []string{"http://127.0.0.1:1"}, ElectionTimeout: electionTimeout, Logger: zap.New(core),
		Registerer: registry, Gatherer: registry, CompactHashCheckInterval: -1,
	}
	machine := NewStateMachine(m.store, m.lessor, api)
	machine.Connect(identity.MemberID, link{c, m}, c.t.TempDir())
	var err error
	m.log, err = raftlog.Open(raftlog.Options{
		DataDir: c.t.TempDir(), MemberID: identity.MemberID, ClusterID: identity.ClusterID, Peers: identity.Peers,
		TickInterval: electionTimeout / 10, Clock: pausedClock{raftlog.SystemClock(), &m.paused}, Transport: link{c, m},
	}, machine)
	must(err)
	stop := make(chan struct{})
	c.readers.Go(func() {
		for {
			select {
			case msg := <-m.inbox:
				if err := m.log.Step(context.Background(), msg); err != nil && !errors.Is(err, raftlog.ErrStopped) &&
					!errors.Is(err, raft.ErrProposalDropped) && !errors.Is(err, raft.ErrStepPeerNotFound) {
					c.t.Errorf("%s: step %v: %v", m.name, msg.GetType(), err)
				}
			case <-stop:
				return
			}
		}
	})
	transport := &http.Transport{}
	m.Server, err = NewServer(api, Parts{
		Store: m.store, Log: m.log, StateMachine: machine, Lessor: m.lessor, PeerTransport: transport, Authority: m.users,
	})
	must(err)
	m.hashes = &switched{own: m.corruption.hashes}
	m.corruption.hashes = m.hashes
	mux := http.NewServeMux() // tests put handlers of their own before it
	mux.Handle("/", m.PeerHandler(http.NotFoundHandler()))
	m.peer.Config.Handler = mux
	m.peer.Start()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	m.addr = l.Addr().String()
	go func() { m.serve <- m.Serve(l) }()
	c.t.Cleanup(func() {
		m.close(c.t)
		close(stop)
		transport.CloseIdleConnections()
	})
}

func (m *third) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := m.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop %s: %v", m.name, err)
	}
	if err := <-m.serve; err != nil {
		t.Errorf("serve %s: %v", m.name, err)
	}
	m.peer.Close()
	// A leader without followers cannot finish everything.
	if err := m.log.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop the log of %s: %v", m.name, err)
	}
	if err := m.store.Close(context.Background()); err != nil {
		t.Errorf("close the store of %s: %v", m.name, err)
	}
}

func (c *trio) byID(id uint64) *third {
	for _, m := range c.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// leader returns the member that all members which run follow, once it keeps
// leases.
func (c *trio) leader() *third {
	c.t.Helper()
	var leader *third
	eventually(c.t, "a leader whose lessor is primary", func() bool {
		leader = nil
		for _, m := range c.members {
			if m.paused.Load() {
				continue
			}
			of := c.byID(m.log.Leader())
			if of == nil || of.paused.Load() || leader != nil && leader != of {
				return false
			}
			leader = of
		}
		return leader.lessor.Primary()
	})
	return leader
}

// followers are the members that run and do not lead.
func (c *trio) followers() []*third {
	c.t.Helper()
	leader := c.leader()
	var all []*third
	for _, m := range c.members {
		if m != leader && !m.paused.Load() {
			all = append(all, m)
		}
	}
	return all
}

func (c *trio) client(m *third) *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// pass lets time go by on all lessors' clocks, in steps that no lessor takes for
// a stall.
func (c *trio) pass(d time.Duration) {
	const step = 500 * time.Millisecond
	for ; d > 0; d -= step {
		for _, m := range c.members {
			if !m.paused.Load() {
				m.time.Advance(min(d, step))
			}
		}
		time.Sleep(time.Millisecond) // for the sweepers
	}
}

// caughtUp waits until all members that run have applied what is committed.
func (c *trio) caughtUp() {
	c.t.Helper()
	eventually(c.t, "all have applied the same", func() bool {
		first := uint64(0)
		for _, m := range c.members {
			index, _ := m.store.Applied()
			switch {
			case m.paused.Load():
			case first == 0:
				first = index
			case first != index:
				return false
			}
		}
		return true
	})
}

func (m *third) String() string { return fmt.Sprintf("%s (%x)", m.name, m.memberID) }
