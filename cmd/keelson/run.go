// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/client/pkg/v3/types"
	tracesdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/authority"
	"keelson.io/keelson/etcdapi/lessor"
	"keelson.io/keelson/metrics"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/disk"
	"keelson.io/keelson/raftlog/peer"
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
	files := &tlsFiles{metrics: metrics.NewTLS(prometheus.DefaultRegisterer)}
	if err := files.load(c, logger); err != nil {
		return err
	}
	id, err := identify(ctx, c, logger)
	if errors.Is(err, context.Canceled) {
		logger.Info("stopping") // while the other members were asked
		return nil
	}
	if err != nil {
		return err
	}
	c.warnOfTLS(logger)
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer l.close() // those that nobody serves yet; Stop closes the others

	n, err := open(ctx, c, id, logger)
	if err != nil {
		return err
	}
	n.tls = files
	defer func() { err = errors.Join(err, n.close()) }()
	if err := files.load(c, logger); err != nil { // those that this member has made itself
		return err
	}
	return n.serve(ctx, l)
}

// node is everything that is open.
type node struct {
	logger   *zap.Logger
	election time.Duration
	tls      *tlsFiles
	spans    *tracesdk.TracerProvider // nil: requests are not traced
	lock     *disk.Lock
	lessor   *lessor.Lessor
	users    *authority.Authority
	store    *sqlstore.Store
	machine  *etcdapi.StateMachine
	peers    *peer.Transport
	log      *raftlog.Log
	server   *etcdapi.Server
	members  *http.Server // for other members
}

// open takes hold of the data directory and opens the parts in the order in
// which they need each other. On an error what is open already is closed.
func open(ctx context.Context, c *config, id identity, logger *zap.Logger) (n *node, err error) {
	n = &node{logger: logger, election: c.election()}
	if n.users, err = authority.New(authorityOptions(c, logger)); err != nil {
		return n, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.lock, err = disk.LockDir(c.dataDir); err != nil {
		return n, err
	}
	if err = prepareDataDir(ctx, c); err != nil {
		return n, err
	}
	if err = c.selfCert(logger); err != nil {
		return n, err
	}
	clock := clockwork.NewRealClock()
	apiOpts := apiOptions(c, clock, logger)
	if n.spans, err = c.tracing.provider(ctx, logger); err != nil {
		return n, err
	}
	if n.spans != nil {
		apiOpts.TracerProvider = n.spans
	}
	reg, seen := prometheus.DefaultRegisterer, &observed{}
	c.gates.export(reg)
	if n.lessor, err = lessor.New(lessorOptions(c, clock, logger, metrics.NewLeases(reg)), nil); err != nil {
		return n, err
	}
	storeOpts := storeOptions(c, clock, logger)
	storeOpts.Metrics = metrics.NewStore(reg, seen.storeStats)
	storeOpts.Observe = account(reg)
	storeOpts.OnLease, storeOpts.Authority = etcdapi.ObserveLeases(n.lessor), n.users
	if n.store, err = sqlstore.Open(ctx, storeOpts); err != nil {
		return n, err
	}
	seen.store.Store(n.store)
	n.machine = etcdapi.NewStateMachine(n.store, n.lessor, apiOpts)
	if n.peers, err = newTransport(c, id, logger); err != nil {
		return n, err
	}
	n.machine.Connect(id.MemberID, n.peers, snapDir(c))
	if n.machine.IsRemoved(id.MemberID) {
		return n, fmt.Errorf("%s: %w", c.dataDir, errRemoved)
	}
	if err = n.machine.CheckVersion(); err != nil {
		return n, fmt.Errorf("%s: %w", c.dataDir, err)
	}
	logOpts := logOptions(c, id, logger)
	logOpts.Lock, logOpts.Transport = n.lock, n.peers
	logOpts.Events = logEvents(metrics.NewRaft(reg, seen.raftStats))
	metrics.NewMembers(reg, seen.memberStats)
	if n.log, err = raftlog.Open(logOpts, n.machine); err != nil {
		return n, nameStore(err, c.dataDir)
	}
	seen.log.Store(n.log)
	return n, n.join(apiOpts)
}

// errRemoved ends a member, and keeps it from starting again.
var errRemoved = errors.New("the member has been permanently removed from the cluster")

// join connects with the other members and makes the server, which takes part in
// the cluster from then on.
func (n *node) join(opts etcdapi.Options) error {
	if err := n.peers.Start(handler{n.log, n.machine}); err != nil {
		return err
	}
	var err error
	n.server, err = etcdapi.NewServer(opts, etcdapi.Parts{
		Store: n.store, Log: n.log, StateMachine: n.machine, Lessor: n.lessor, Authority: n.users, PeerTransport: n.peers,
	})
	if err != nil {
		return err
	}
	n.members = newPeerServer(n.server.PeerHandler(n.peers.Handler()))
	return nil
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
// file, makes the folder of the store's file, and puts a received snapshot in the
// place of that file if a crash came between receiving and doing so.
func prepareDataDir(ctx context.Context, c *config) error {
	path := filepath.Join(c.dataDir, storeFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(c.dataDir, bboltFile)); err == nil {
			return fmt.Errorf("data directory %s is an etcd member's: taking it over is not served yet", c.dataDir)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	index, found, err := disk.NewestSnapshot(walDir(c))
	if err != nil || !found {
		return err
	}
	return sqlstore.FinishRestore(ctx, path, peer.SnapshotPath(snapDir(c), index), index)
}

// lessorOptions has a revocation proposed again when etcd's time for a request
// is over: five seconds for the disk and two election timeouts.
func lessorOptions(c *config, clock clockwork.Clock, logger *zap.Logger, m *metrics.Leases) lessor.Options {
	return lessor.Options{Clock: clock, Logger: logger, Metrics: m, RetryInterval: 5*time.Second + 2*c.election()}
}

func authorityOptions(c *config, logger *zap.Logger) authority.Options {
	return authority.Options{
		Logger: logger, Token: c.authToken, TokenTTL: time.Duration(c.authTokenTTL) * time.Second,
		BcryptCost: int(c.bcryptCost), ClientCertAuth: c.clientTLS.ClientCertAuth,
	}
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

func logOptions(c *config, id identity, logger *zap.Logger) raftlog.Options {
	return raftlog.Options{
		DataDir: c.dataDir, WALDir: c.walDir, Logger: logger,
		MemberID: id.MemberID, ClusterID: id.ClusterID, Start: id.start, Peers: id.Peers, ForceNewCluster: c.forceNewCluster,
		TickInterval:   time.Duration(c.heartbeatMillis) * time.Millisecond,
		ElectionTicks:  int(c.electionMillis / c.heartbeatMillis),
		DisablePreVote: !c.preVote,
		SnapshotCount:  c.snapshotCount, SnapshotCatchUpEntries: c.snapshotCatchUpEntries,
		MaxSnapshots: keep(c.maxSnapshots), MaxWALs: keep(c.maxWALs),
		UnsafeNoFsync: c.unsafeNoFsync,
	}
}

// keep turns etcd's 0, which keeps all files, into the log's name of that.
func keep(files uint) int {
	if files == 0 {
		return raftlog.Unlimited
	}
	return int(min(files, math.MaxInt))
}

func apiOptions(c *config, clock clockwork.Clock, logger *zap.Logger) etcdapi.Options {
	return etcdapi.Options{
		Clock: clock, Logger: logger, Name: c.name, ClientURLs: c.advertiseClientURLs.StringSlice(),
		ElectionTimeout: c.election(), StrictReconfig: c.strictReconfig(), MaxLearners: c.maxLearners,
		CompactHashCheckInterval: c.compactHashCheckTime, CorruptCheckTime: c.corruptCheckTime,
		MaxRequestBytes: int(c.maxRequestBytes), MaxTxnOps: int(min(c.maxTxnOps, math.MaxInt)),
		MaxConcurrentStreams:   c.maxConcurrentStreams,
		DowngradeCheckInterval: orNever(c.downgradeCheckTime),
		AutoCompaction:         c.autoCompaction,
		QuotaBackendBytes:      c.quotaBackendBytes, QuotaAsEtcd: c.quotaAsEtcd, RangeBytesInFlight: c.maxRangeBytesInFlight,
		KeepAliveMinTime: c.keepAliveMinTime, KeepAliveInterval: c.keepAliveInterval, KeepAliveTimeout: c.keepAliveTimeout,
		WatchProgressInterval: c.watchProgressInterval,
		WarningApplyDuration:  c.warningApplyDuration, WarningUnaryRequestDuration: c.warningUnaryRequestDuration,
		CORS: c.cors, HostWhitelist: c.hostWhitelist,
		Metrics: c.metrics, DisableGateway: !c.grpcGateway, Profiling: c.pprof || c.logLevel == "debug", Version: version,
	}
}

// orNever turns etcd's 0, for what is not to be done, into the server's.
func orNever(interval time.Duration) time.Duration {
	if interval == 0 {
		return -1
	}
	return interval
}

// removalDelay lets a removed member's last messages out, the answer to who had
// it removed among them.
const removalDelay = time.Second

// serve answers on all listeners until ctx ends or a part fails. Clients are
// served when this member's history was found to be that of the others.
func (n *node) serve(ctx context.Context, l listeners) error {
	failed := make(chan error, len(l.clients)+len(l.scrapers)+len(l.members))
	for _, l := range l.members {
		go func() { failed <- n.servePeers(l) }()
	}
	for _, l := range l.scrapers {
		go func() { failed <- n.serveMetrics(l) }()
	}
	n.watchTLS(ctx)
	go n.notifySystemd(ctx)
	// What ends the node ends it during the check, too.
	checking, cancel := context.WithCancel(ctx)
	checked := make(chan error, 1)
	var check sync.WaitGroup
	check.Go(func() { checked <- n.server.CheckInitialCorruption(checking) })
	defer check.Wait()
	defer cancel()
	for {
		select {
		case err := <-checked:
			switch {
			case err == nil:
				for _, l := range l.clients {
					go func() { failed <- n.serveClients(l) }()
				}
			case ctx.Err() == nil:
				return err
			}
		case <-n.peers.Errors():
			// The others do not take this one's messages any more. It was away when it was
			// removed, so its log does not say it.
			return n.leave()
		case <-n.machine.Removed():
			return n.leave()
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
}

// leave is the end of a member that was removed, an ordinary one.
func (n *node) leave() error {
	n.logger.Warn("stopping: "+errRemoved.Error(), zap.Stringer("local-member-id", types.ID(n.log.Status().MemberID)))
	time.Sleep(removalDelay)
	return nil
}

// handoverTimeout bounds the handing over of leadership, in election timeouts.
const handoverTimeout = 2

// handOver has another member lead, if there is one and this one leads, so that
// the cluster goes on without an election.
func (n *node) handOver(ctx context.Context) {
	if n.log == nil || !n.log.Status().Lead || len(n.store.Members()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout*n.election)
	defer cancel()
	if err := n.log.TransferLeadership(ctx, 0); err != nil {
		n.logger.Warn("cannot hand leadership over", zap.Error(err))
		return
	}
	n.logger.Info("leadership was handed over", zap.Stringer("to", types.ID(n.log.Leader())))
}

// close takes the parts down from top to bottom.
func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	n.handOver(ctx)
	var errs []error
	if n.server != nil {
		errs = append(errs, n.server.Stop(ctx))
	}
	n.flushSpans(ctx)
	if n.log != nil {
		errs = append(errs, n.log.Stop(ctx))
	}
	if n.members != nil {
		errs = append(errs, n.members.Close())
	}
	if n.peers != nil {
		n.peers.Stop()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close(ctx))
	}
	return errors.Join(append(errs, n.lock.Release())...)
}
