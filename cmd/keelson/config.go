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

	"go.etcd.io/etcd/client/pkg/v3/types"
	etcdflags "go.etcd.io/etcd/pkg/v3/flags"
)

// Defaults of flags, etcd's unless the flag's help says otherwise.
const (
	defaultName            = "default"
	defaultPeerURLs        = "http://localhost:2380"
	defaultClientURLs      = "http://localhost:2379"
	defaultMaxRequestBytes = 1536 << 10
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
	warningApplyDuration           time.Duration
	warningUnaryRequestDuration    time.Duration
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
	fs.StringVar(&c.initialClusterState, "initial-cluster-state", "new", "")
	fs.StringVar(&c.initialClusterToken, "initial-cluster-token", "etcd-cluster", "")
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
	if c.initialCluster == "" {
		c.initialCluster = c.name + "=" + strings.Join(c.initialAdvertisePeerURLs.StringSlice(), ","+c.name+"=")
	}
	fault(c.name == "", "--name is empty")
	fault(c.heartbeatMillis == 0, "--heartbeat-interval must be above 0 ms")
	fault(c.electionMillis < 5*c.heartbeatMillis, "--election-timeout[%vms] should be at least as 5 times as --heartbeat-interval[%vms]", c.electionMillis, c.heartbeatMillis)
	fault(c.electionMillis > 50000, "--election-timeout[%vms] is too long, and should be set less than 50000ms", c.electionMillis)
	fault(c.initialClusterState != "new" && c.initialClusterState != "existing", "--initial-cluster-state=%s: neither new nor existing", c.initialClusterState)
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
