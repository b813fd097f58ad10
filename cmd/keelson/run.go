// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/metrics"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/disk"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/sqlstore/sqldb"
)

// Where the store's file stands in the data directory, beside etcd's .snap
// files, and where etcd has its own.
const (
	storeFile = "member/snap/keelson.db"
	bboltFile = "member/snap/db"
)

// stopTimeout bounds an orderly end: requests in flight, the last batch to
// SQLite, its checkpoint.
const stopTimeout = 30 * time.Second

// run builds a node from bottom to top, serves until ctx ends or a part fails,
// and takes it down. Nothing is written before flags, identity and ports are
// known to be right.
func run(ctx context.Context, c *config, logger *zap.Logger) (err error) {
	for _, name := range c.ignored {
		logger.Warn("flag has no meaning in keelson and is ignored", zap.String("flag", name))
	}
	identity, err := founders(c)
	if err != nil {
		return err
	}
	clients, err := listenAll(c.listenClientURLs)
	if err != nil {
		return err
	}
	defer closeAll(clients) // those that nobody serves yet; Stop closes the others
	scrapers, err := listenAll(c.listenMetricsURLs)
	if err != nil {
		return err
	}
	defer closeAll(scrapers)

	n, err := open(ctx, c, identity, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	return n.serve(ctx, clients, scrapers)
}

// founders computes who this member is and refuses what is not served yet.
func founders(c *config) (etcdapi.Identity, error) {
	identity, err := etcdapi.InitialCluster{
		Name: c.name, Members: c.initialCluster, Token: c.initialClusterToken,
		AdvertisePeerURLs: c.initialAdvertisePeerURLs.StringSlice(),
	}.Identity()
	if err == nil && len(identity.Peers) > 1 {
		err = fmt.Errorf("--initial-cluster %q: clusters of more than one member are not served yet", c.initialCluster)
	}
	return identity, err
}

// node is everything that is open.
type node struct {
	logger  *zap.Logger
	lock    *disk.Lock
	lessor  *lessor.Lessor
	store   *sqlstore.Store
	machine *etcdapi.StateMachine
	log     *raftlog.Log
	server  *etcdapi.Server
}

// open takes hold of the data directory and opens the parts in the order in
// which they need each other. On an error what is open already is closed.
func open(ctx context.Context, c *config, identity etcdapi.Identity, logger *zap.Logger) (n *node, err error) {
	n = &node{logger: logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.lock, err = disk.LockDir(c.dataDir); err != nil {
		return n, err
	}
	if err = prepareDataDir(c.dataDir); err != nil {
		return n, err
	}
	clock := clockwork.NewRealClock()
	apiOpts := apiOptions(c, clock, logger)
	reg, seen := prometheus.DefaultRegisterer, &observed{}
	if n.lessor, err = lessor.New(lessorOptions(c, clock, logger, metrics.NewLeases(reg)), nil); err != nil {
		return n, err
	}
	storeOpts := storeOptions(c, clock, logger)
	storeOpts.Metrics = metrics.NewStore(reg, seen.storeStats)
	storeOpts.Observe = account(reg)
	storeOpts.OnLease = etcdapi.ObserveLeases(n.lessor)
	if n.store, err = sqlstore.Open(ctx, storeOpts); err != nil {
		return n, err
	}
	seen.store.Store(n.store)
	n.machine = etcdapi.NewStateMachine(n.store, n.lessor, apiOpts)
	logOpts := logOptions(c, identity, logger)
	logOpts.Lock = n.lock
	logOpts.Events = logEvents(metrics.NewRaft(reg, seen.raftStats))
	metrics.NewMembers(reg, seen.memberStats)
	if n.log, err = raftlog.Open(logOpts, n.machine); err != nil {
		return n, nameStore(err, c.dataDir)
	}
	seen.log.Store(n.log)
	n.server, err = etcdapi.NewServer(apiOpts, etcdapi.Parts{
		Store: n.store, Log: n.log, StateMachine: n.machine, Lessor: n.lessor,
	})
	return n, err
}

// nameStore adds the store's file to the errors that tell of it and of the log,
// for the log does not know where its state machine keeps its state.
func nameStore(err error, dataDir string) error {
	var gap *disk.GapError
	var ahead *raftlog.StateAheadError
	if errors.As(err, &gap) || errors.As(err, &ahead) {
		return fmt.Errorf("%s: %w", filepath.Join(dataDir, storeFile), err)
	}
	return err
}

// prepareDataDir refuses an etcd's data directory, whose history is in a bbolt
// file, and makes the folder of the store's file.
func prepareDataDir(dir string) error {
	path := filepath.Join(dir, storeFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, bboltFile)); err == nil {
			return fmt.Errorf("data directory %s is an etcd member's: taking it over is not served yet", dir)
		}
	}
	return os.MkdirAll(filepath.Dir(path), 0o700)
}

// lessorOptions has a revocation proposed again when etcd's time for a request
// is over: five seconds for the disk and two election timeouts.
func lessorOptions(c *config, clock clockwork.Clock, logger *zap.Logger, m *metrics.Leases) lessor.Options {
	election := time.Duration(c.electionMillis) * time.Millisecond
	return lessor.Options{Clock: clock, Logger: logger, Metrics: m, RetryInterval: 5*time.Second + 2*election}
}

func storeOptions(c *config, clock clockwork.Clock, logger *zap.Logger) sqlstore.Options {
	electionTicks := c.electionMillis / c.heartbeatMillis
	minLease := time.Duration(3*electionTicks/2) * time.Duration(c.heartbeatMillis) * time.Millisecond
	return sqlstore.Options{
		DB:              sqldb.Options{Path: filepath.Join(c.dataDir, storeFile), Clock: clock, Logger: logger},
		Logger:          logger,
		MinLeaseTTL:     int64((minLease + time.Second - 1) / time.Second),
		CompactionBatch: c.compactionBatchLimit,
	}
}

func logOptions(c *config, identity etcdapi.Identity, logger *zap.Logger) raftlog.Options {
	if wal.Exist(walDir(c)) {
		// As in etcd the flags that found a cluster count once: the log knows who wrote it.
		identity = etcdapi.Identity{Peers: identity.Peers}
	}
	o := raftlog.Options{
		DataDir: c.dataDir, WALDir: c.walDir, Logger: logger,
		MemberID: identity.MemberID, ClusterID: identity.ClusterID, Peers: identity.Peers,
		TickInterval:   time.Duration(c.heartbeatMillis) * time.Millisecond,
		ElectionTicks:  int(c.electionMillis / c.heartbeatMillis),
		DisablePreVote: !c.preVote,
		SnapshotCount:  c.snapshotCount, SnapshotCatchUpEntries: c.snapshotCatchUpEntries,
		MaxSnapshots: keep(c.maxSnapshots), MaxWALs: keep(c.maxWALs),
		UnsafeNoFsync: c.unsafeNoFsync,
	}
	if c.initialClusterState == "existing" {
		o.Start = raftlog.StartJoin
	}
	return o
}

func walDir(c *config) string {
	if c.walDir != "" {
		return c.walDir
	}
	return filepath.Join(c.dataDir, "member", "wal")
}

// keep turns etcd's 0, which keeps all files, into the log's name of that.
func keep(files uint) int {
	if files == 0 {
		return raftlog.Unlimited
	}
	return int(files)
}

func apiOptions(c *config, clock clockwork.Clock, logger *zap.Logger) etcdapi.Options {
	return etcdapi.Options{
		Clock: clock, Logger: logger, Name: c.name, ClientURLs: c.advertiseClientURLs.StringSlice(),
		ElectionTimeout: time.Duration(c.electionMillis) * time.Millisecond,
		MaxRequestBytes: int(c.maxRequestBytes), MaxTxnOps: int(c.maxTxnOps),
		MaxConcurrentStreams: uint32(c.maxConcurrentStreams),
		QuotaBackendBytes:    c.quotaBackendBytes,
		KeepAliveMinTime:     c.keepAliveMinTime, KeepAliveInterval: c.keepAliveInterval, KeepAliveTimeout: c.keepAliveTimeout,
		WatchProgressInterval: c.watchProgressInterval,
		WarningApplyDuration:  c.warningApplyDuration, WarningUnaryRequestDuration: c.warningUnaryRequestDuration,
		Metrics: c.metrics, Profiling: c.pprof, Version: version,
	}
}

// serve answers on all listeners until ctx ends or a part fails.
func (n *node) serve(ctx context.Context, clients, scrapers []net.Listener) error {
	failed := make(chan error, len(clients)+len(scrapers))
	for _, l := range clients {
		go func() { failed <- n.server.Serve(l) }()
	}
	for _, l := range scrapers {
		go func() { failed <- n.server.ServeMetrics(l) }()
	}
	select {
	case <-ctx.Done():
		n.logger.Info("stopping")
		return nil
	case err := <-failed:
		return err
	case <-n.log.Done():
		return n.log.Status().Err
	case <-n.machine.Failed():
		return n.machine.Err()
	}
}

// close takes the parts down from top to bottom.
func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	if n.server != nil {
		errs = append(errs, n.server.Stop(ctx))
	}
	if n.log != nil {
		errs = append(errs, n.log.Stop(ctx))
	}
	if n.store != nil {
		errs = append(errs, n.store.Close(ctx))
	}
	return errors.Join(append(errs, n.lock.Release())...)
}

func listenAll(urls types.URLs) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, u := range urls {
		l, err := listen(u)
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listen(u url.URL) (net.Listener, error) {
	network, address := "tcp", u.Host
	if u.Scheme == "unix" {
		network, address = "unix", u.Host+u.Path
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", u.String(), err)
	}
	return l, nil
}

// closeAll closes listeners; one that its server has closed is not an error.
func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
