// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	etcdflags "go.etcd.io/etcd/pkg/v3/flags"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"keelson.io/keelson/etcdapi"
)

// Defaults of flags, etcd's unless the flag's help says otherwise.
const (
	defaultName            = "default"
	defaultPeerURLs        = "http://localhost:2380"
	defaultClientURLs      = "http://localhost:2379"
	defaultMaxRequestBytes = 1536 << 10
)

// States of a cluster when a member without data starts.
const (
	clusterNew      = "new"
	clusterExisting = "existing"
)

// config is the command line after parsing: units are in the names, or those
// of the types.
type config struct {
	name, dataDir, walDir          string
	listenClientURLs               types.URLs
	listenPeerURLs                 types.URLs
	listenMetricsURLs              types.URLs
	advertiseClientURLs            types.URLs
	initialAdvertisePeerURLs       types.URLs
	initialCluster                 string
	clusterGiven                   bool // initialCluster was
	initialClusterState            string
	initialClusterToken            string
	heartbeatMillis                uint
	electionMillis                 uint
	snapshotCount                  uint64
	snapshotCatchUpEntries         uint64
	maxSnapshots, maxWALs          uint
	maxTxnOps                      uint
	maxRequestBytes                uint
	maxConcurrentStreams           uint
	keepAliveMinTime               time.Duration
	keepAliveInterval              time.Duration
	keepAliveTimeout               time.Duration
	watchProgressInterval          time.Duration
	compactionBatchLimit           int
	quotaBackendBytes              int64
	quotaAsEtcd                    bool
	warningApplyDuration           time.Duration
	warningUnaryRequestDuration    time.Duration
	discoverySRV, discoverySRVName string
	forceNewCluster, strictCheck   bool
	maxLearners                    uint
	corruptCheckTime               time.Duration
	compactHashCheckTime           time.Duration
	peerTLS                        transport.TLSInfo
	preVote, unsafeNoFsync, pprof  bool
	metrics                        string
	logLevel, logFormat, logOutput string

	ignored []string // flags that were given and mean nothing here
}

// parse reads the command line and then, for flags not given there, ETCD_*
// variables. flag.ErrHelp says that the help was asked for and printed.
func parse(args []string, out io.Writer) (*config, error) {
	c := &config{}
	fs := flag.NewFlagSet("keelson", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	urls := c.register(fs)
	registerOthers(fs, c)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(out)
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags start with a dash", fs.Arg(0))
	}
	if err := etcdflags.SetFlagsFromEnv(nil, "ETCD", fs); err != nil {
		return nil, err
	}
	if err := c.parseURLs(urls, fs); err != nil {
		return nil, err
	}
	return c, c.validate()
}

// urlFlags are the flags that hold lists of URLs, before parsing.
type urlFlags struct {
	listenClient, listenPeer, listenMetrics *string
	advertiseClient, initialAdvertisePeer   *string
}

func (c *config) register(fs *flag.FlagSet) urlFlags {
	fs.StringVar(&c.name, "name", defaultName, "")
	fs.StringVar(&c.dataDir, "data-dir", "", "")
	fs.StringVar(&c.walDir, "wal-dir", "", "")
	urls := urlFlags{
		listenClient:         fs.String("listen-client-urls", defaultClientURLs, ""),
		listenPeer:           fs.String("listen-peer-urls", defaultPeerURLs, ""),
		listenMetrics:        fs.String("listen-metrics-urls", "", ""),
		advertiseClient:      fs.String("advertise-client-urls", defaultClientURLs, ""),
		initialAdvertisePeer: fs.String("initial-advertise-peer-urls", defaultPeerURLs, ""),
	}
	fs.StringVar(&c.initialCluster, "initial-cluster", "", "")
	fs.StringVar(&c.initialClusterState, "initial-cluster-state", clusterNew, "")
	fs.StringVar(&c.initialClusterToken, "initial-cluster-token", "etcd-cluster", "")
	fs.StringVar(&c.discoverySRV, "discovery-srv", "", "")
	fs.StringVar(&c.discoverySRVName, "discovery-srv-name", "", "")
	fs.BoolVar(&c.forceNewCluster, "force-new-cluster", false, "")
	fs.BoolVar(&c.strictCheck, "strict-reconfig-check", true, "")
	fs.UintVar(&c.maxLearners, "max-learners", membership.DefaultMaxLearners, "")
	fs.DurationVar(&c.corruptCheckTime, "corrupt-check-time", 0, "")
	fs.DurationVar(&c.compactHashCheckTime, "compact-hash-check-time", time.Minute, "")
	fs.StringVar(&c.peerTLS.CertFile, "peer-cert-file", "", "")
	fs.StringVar(&c.peerTLS.KeyFile, "peer-key-file", "", "")
	fs.StringVar(&c.peerTLS.TrustedCAFile, "peer-trusted-ca-file", "", "")
	fs.BoolVar(&c.peerTLS.ClientCertAuth, "peer-client-cert-auth", false, "")
	fs.UintVar(&c.heartbeatMillis, "heartbeat-interval", 100, "")
	fs.UintVar(&c.electionMillis, "election-timeout", 1000, "")
	fs.Uint64Var(&c.snapshotCount, "snapshot-count", 10000, "")
	fs.Uint64Var(&c.snapshotCatchUpEntries, "snapshot-catchup-entries", 5000, "")
	fs.UintVar(&c.maxSnapshots, "max-snapshots", 5, "")
	fs.UintVar(&c.maxWALs, "max-wals", 5, "")
	fs.UintVar(&c.maxTxnOps, "max-txn-ops", 128, "")
	fs.UintVar(&c.maxRequestBytes, "max-request-bytes", defaultMaxRequestBytes, "")
	fs.UintVar(&c.maxConcurrentStreams, "max-concurrent-streams", math.MaxUint32, "")
	fs.DurationVar(&c.keepAliveMinTime, "grpc-keepalive-min-time", 5*time.Second, "")
	fs.DurationVar(&c.keepAliveInterval, "grpc-keepalive-interval", 2*time.Hour, "")
	fs.DurationVar(&c.keepAliveTimeout, "grpc-keepalive-timeout", 20*time.Second, "")
	fs.DurationVar(&c.watchProgressInterval, "watch-progress-notify-interval", 10*time.Minute, "")
	fs.Int64Var(&c.quotaBackendBytes, "quota-backend-bytes", 0, "")
	fs.BoolVar(&c.quotaAsEtcd, "quota-as-etcd", false, "")
	fs.IntVar(&c.compactionBatchLimit, "compaction-batch-limit", 1000, "")
	fs.DurationVar(&c.warningApplyDuration, "warning-apply-duration", 100*time.Millisecond, "")
	fs.DurationVar(&c.warningUnaryRequestDuration, "warning-unary-request-duration", 300*time.Millisecond, "")
	fs.BoolVar(&c.preVote, "pre-vote", true, "")
	fs.BoolVar(&c.unsafeNoFsync, "unsafe-no-fsync", false, "")
	fs.BoolVar(&c.pprof, "enable-pprof", false, "")
	fs.StringVar(&c.metrics, "metrics", "basic", "")
	fs.StringVar(&c.logLevel, "log-level", "info", "")
	fs.StringVar(&c.logFormat, "log-format", "json", "")
	fs.StringVar(&c.logOutput, "log-outputs", "default", "")
	return urls
}

// parseURLs turns the lists of URLs into types.URLs; all faults are reported
// at once.
func (c *config) parseURLs(f urlFlags, fs *flag.FlagSet) error {
	var faults []error
	list := func(name, value string) types.URLs {
		urls, err := types.NewURLs(strings.Split(value, ","))
		if err != nil {
			faults = append(faults, fmt.Errorf("--%s=%s: %w", name, value, err))
		}
		return urls
	}
	c.listenClientURLs = list("listen-client-urls", *f.listenClient)
	c.listenPeerURLs = list("listen-peer-urls", *f.listenPeer)
	c.initialAdvertisePeerURLs = list("initial-advertise-peer-urls", *f.initialAdvertisePeer)
	c.advertiseClientURLs = list("advertise-client-urls", *f.advertiseClient)
	if *f.listenMetrics != "" {
		c.listenMetricsURLs = list("listen-metrics-urls", *f.listenMetrics)
	}
	if etcdflags.IsSet(fs, "listen-client-urls") && !etcdflags.IsSet(fs, "advertise-client-urls") {
		faults = append(faults, errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly"))
	}
	return errors.Join(faults...)
}

// validate fills in what follows from other flags and lists every fault.
func (c *config) validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	if c.dataDir == "" {
		c.dataDir = c.name + ".keelson"
	}
	if c.clusterGiven = c.initialCluster != ""; !c.clusterGiven {
		c.initialCluster = c.name + "=" + strings.Join(c.initialAdvertisePeerURLs.StringSlice(), ","+c.name+"=")
	}
	fault(c.name == "", "--name is empty")
	fault(c.heartbeatMillis == 0, "--heartbeat-interval must be above 0 ms")
	fault(c.electionMillis < 5*c.heartbeatMillis, "--election-timeout[%vms] should be at least as 5 times as --heartbeat-interval[%vms]", c.electionMillis, c.heartbeatMillis)
	fault(c.electionMillis > 50000, "--election-timeout[%vms] is too long, and should be set less than 50000ms", c.electionMillis)
	fault(c.discoverySRV != "" && c.clusterGiven, "--initial-cluster and --discovery-srv: multiple discovery or bootstrap flags are set, choose one of them")
	fault(c.maxLearners == 0 || c.maxLearners > math.MaxInt32, "--max-learners=%d is not between 1 and %d", c.maxLearners, math.MaxInt32)
	fault(c.corruptCheckTime < 0, "--corrupt-check-time=%v is negative", c.corruptCheckTime)
	fault(c.compactHashCheckTime <= 0, "--compact-hash-check-time=%v is not above 0", c.compactHashCheckTime)
	faults = append(faults, c.checkPeerTLS())
	fault(c.initialClusterState != clusterNew && c.initialClusterState != clusterExisting, "--initial-cluster-state=%s: neither new nor existing", c.initialClusterState)
	fault(c.snapshotCount == 0, "--snapshot-count must be above 0")
	fault(c.maxTxnOps == 0, "--max-txn-ops must be above 0")
	fault(c.maxRequestBytes == 0 || c.maxRequestBytes > math.MaxInt32-1<<20, "--max-request-bytes=%d is not between 1 and %d", c.maxRequestBytes, math.MaxInt32-1<<20)
	fault(c.maxConcurrentStreams == 0 || c.maxConcurrentStreams > math.MaxUint32, "--max-concurrent-streams=%d is not between 1 and %d", c.maxConcurrentStreams, math.MaxUint32)
	fault(c.compactionBatchLimit <= 0, "--compaction-batch-limit must be above 0")
	fault(c.metrics != "basic" && c.metrics != "extensive", "--metrics=%s: neither basic nor extensive", c.metrics)
	fault(c.logFormat != "json" && c.logFormat != "console", "--log-format=%s: neither json nor console", c.logFormat)
	for _, urls := range []struct {
		flag string
		list types.URLs
	}{{"listen-client-urls", c.listenClientURLs}, {"listen-metrics-urls", c.listenMetricsURLs}} {
		for _, u := range urls.list {
			faults = append(faults, checkListenURL(urls.flag, u))
		}
	}
	return errors.Join(faults...)
}

// checkPeerTLS refuses peer URLs that can't be served with the files given.
func (c *config) checkPeerTLS() error {
	var faults []error
	if (c.peerTLS.CertFile == "") != (c.peerTLS.KeyFile == "") {
		faults = append(faults, errors.New("--peer-cert-file and --peer-key-file must be given together"))
	}
	if c.peerTLS.ClientCertAuth && c.peerTLS.TrustedCAFile == "" {
		faults = append(faults, errors.New("--peer-client-cert-auth needs --peer-trusted-ca-file"))
	}
	for _, u := range c.listenPeerURLs {
		switch u.Scheme {
		case "https":
			if c.peerTLS.Empty() {
				faults = append(faults, fmt.Errorf("--listen-peer-urls: %s needs --peer-cert-file and --peer-key-file", u.String()))
			}
		case "http":
		default:
			faults = append(faults, fmt.Errorf("--listen-peer-urls: %s is not served (%s)", u.Scheme, u.String()))
			continue
		}
		if host := u.Hostname(); host != "localhost" && !isIP(host) {
			faults = append(faults, fmt.Errorf("--listen-peer-urls: expected IP in URL for binding (%s)", u.String()))
		}
	}
	return errors.Join(faults...)
}

// strictReconfig is --strict-reconfig-check.
func (c *config) strictReconfig() etcdapi.StrictReconfig {
	if c.strictCheck {
		return etcdapi.RefuseUnsafe
	}
	return etcdapi.AllowUnsafe
}

// checkListenURL refuses what can't be listened on.
func checkListenURL(flagName string, u url.URL) error {
	switch u.Scheme {
	case "http":
		if host := u.Hostname(); host != "localhost" && !isIP(host) {
			return fmt.Errorf("--%s: expected IP in URL for binding (%s)", flagName, u.String())
		}
		return nil
	case "unix":
		return nil
	}
	return fmt.Errorf("--%s: %s is not served yet (%s)", flagName, u.Scheme, u.String())
}
