// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/netutil"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3discovery"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/compactor"
)

// States of a cluster when a member without data starts.
const (
	clusterNew      = "new"
	clusterExisting = "existing"
)

// config is the command line after parsing: units are in the names, or those
// of the types.
type config struct {
	security

	name, dataDir, walDir          string
	listenClientURLs               types.URLs
	listenClientHTTPURLs           types.URLs
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
	maxConcurrentStreams           uint32
	keepAliveMinTime               time.Duration
	keepAliveInterval              time.Duration
	keepAliveTimeout               time.Duration
	watchProgressInterval          time.Duration
	compactionBatchLimit           int
	autoCompactionMode             string
	autoCompactionRetention        string
	autoCompaction                 compactor.Retention // the two above
	quotaBackendBytes              int64
	quotaAsEtcd                    bool
	maxRangeBytesInFlight          int64
	warningApplyDuration           time.Duration
	warningUnaryRequestDuration    time.Duration
	discoverySRV, discoverySRVName string
	forceNewCluster, strictCheck   bool
	maxLearners                    int
	corruptCheckTime               time.Duration
	compactHashCheckTime           time.Duration
	downgradeCheckTime             time.Duration
	authToken                      string
	authTokenTTL, bcryptCost       uint
	preVote, unsafeNoFsync, pprof  bool
	grpcGateway                    bool
	metrics                        string
	logger, logLevel, logFormat    string
	logOutputs                     []string
	rotateLogs                     bool
	logRotation                    string // JSON
	sockets                        transport.SocketOpts
	cors, hostWhitelist            []string
	tracing                        tracing
	gates                          gates
	raftReadTimeout                time.Duration
	raftWriteTimeout               time.Duration
	discovery                      v3discovery.DiscoveryConfig
	discoveryFallback              string
	configFile                     string
	printVersion                   bool

	given map[string]bool // names of the options that are not left at their defaults
	notes []note
}

// note is what is to be logged as soon as there is a logger.
type note struct {
	level  zapcore.Level
	text   string
	fields []zap.Field
}

func (c *config) note(text string, fields ...zap.Field) {
	c.notes = append(c.notes, note{zap.InfoLevel, text, fields})
}

func (c *config) warn(text string, fields ...zap.Field) {
	c.notes = append(c.notes, note{zap.WarnLevel, text, fields})
}

// complete fills in what follows from other options and lists every fault.
func (c *config) complete() error {
	if c.dataDir == "" {
		c.dataDir = c.name + ".keelson"
	}
	c.adviseHost()
	if !c.given["initial-cluster"] {
		c.initialCluster = c.name + "=" + strings.Join(c.initialAdvertisePeerURLs.StringSlice(), ","+c.name+"=")
	}
	c.peerTLS.LocalAddr = c.peerAddress()
	c.raftReadTimeout = max(c.raftReadTimeout, rafthttp.DefaultConnReadTimeout)
	c.raftWriteTimeout = max(c.raftWriteTimeout, rafthttp.DefaultConnWriteTimeout)
	if c.warningUnaryRequestDuration == 0 {
		c.warningUnaryRequestDuration = defaultUnaryWarning
	}
	if c.given["max-snapshots"] {
		c.warn("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.")
	}
	var compaction error
	c.autoCompaction, compaction = compactor.ParseRetention(c.autoCompactionMode, c.autoCompactionRetention)
	return errors.Join(compaction, c.checkBootstrap(), c.checkTimes(), c.checkLimits(), c.checkLogging(), c.tracing.check(), c.gates.check(c), c.checkTLS(), c.checkURLs())
}

// adviseHost has others told this machine's own address, as etcd does, where it
// listens on all of them and no other is given.
func (c *config) adviseHost() {
	for _, on := range []struct {
		listen types.URLs
		advise *types.URLs
		def    string
	}{{c.listenPeerURLs, &c.initialAdvertisePeerURLs, defaultPeerURLs}, {c.listenClientURLs, &c.advertiseClientURLs, defaultClientURLs}} {
		if on.listen[0].Hostname() != "0.0.0.0" || on.advise.String() != on.def {
			continue
		}
		host, err := netutil.GetDefaultHost()
		if err != nil {
			c.note("failed to detect default host", zap.Error(err))
			return
		}
		c.note("detected default host for advertise", zap.String("host", host))
		*on.advise = types.URLs{{Scheme: (*on.advise)[0].Scheme, Host: net.JoinHostPort(host, on.listen[0].Port())}}
	}
}

// faultIf is an error if something is wrong.
func faultIf(wrong bool, format string, args ...any) error {
	if !wrong {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func (c *config) checkBootstrap() error {
	return errors.Join(
		faultIf(c.name == "", "--name is empty"),
		c.checkDiscovery(),
		faultIf(c.maxLearners <= 0 || c.maxLearners > math.MaxInt32, "--max-learners=%d is not between 1 and %d", c.maxLearners, math.MaxInt32),
	)
}

func (c *config) checkTimes() error {
	return errors.Join(
		faultIf(c.heartbeatMillis == 0, "--heartbeat-interval must be >0 (set to %dms)", c.heartbeatMillis),
		faultIf(c.electionMillis == 0, "--election-timeout must be >0 (set to %dms)", c.electionMillis),
		faultIf(c.electionMillis < 5*c.heartbeatMillis, "--election-timeout[%vms] should be at least as 5 times as --heartbeat-interval[%vms]", c.electionMillis, c.heartbeatMillis),
		faultIf(c.electionMillis > maxElectionMillis, "--election-timeout[%vms] is too long, and should be set less than %vms", c.electionMillis, maxElectionMillis),
		faultIf(c.corruptCheckTime < 0, "--corrupt-check-time=%v is negative", c.corruptCheckTime),
		faultIf(c.downgradeCheckTime < 0, "--downgrade-check-time=%v is negative", c.downgradeCheckTime),
		faultIf(c.compactHashCheckTime <= 0, "--compact-hash-check-time must be >0 (set to %v)", c.compactHashCheckTime),
	)
}

// maxElectionMillis is etcd's.
const maxElectionMillis = 50000

// maxEntryBytes leaves room in a gRPC message.
const maxEntryBytes = math.MaxInt32 - 1<<20

func (c *config) checkLimits() error {
	return errors.Join(
		faultIf(c.snapshotCount == 0, "--snapshot-count must be above 0"),
		faultIf(c.maxTxnOps == 0, "--max-txn-ops must be above 0"),
		faultIf(c.maxRangeBytesInFlight <= 0, "--max-range-bytes-in-flight=%d is not above 0", c.maxRangeBytesInFlight),
		faultIf(c.maxRequestBytes == 0 || c.maxRequestBytes > maxEntryBytes, "--max-request-bytes=%d is not between 1 and %d", c.maxRequestBytes, maxEntryBytes),
		faultIf(c.maxConcurrentStreams == 0, "--max-concurrent-streams must be above 0"),
		faultIf(c.compactionBatchLimit < 0, "--compaction-batch-limit=%d is negative", c.compactionBatchLimit),
		faultIf(c.metrics != "basic" && c.metrics != "extensive", "--metrics=%s: neither basic nor extensive", c.metrics),
	)
}

// checkURLs refuses what can't be listened on.
func (c *config) checkURLs() error {
	var faults []error
	// In a file etcd lets the clients' URLs stand alone.
	if c.configFile == "" && c.given["listen-client-urls"] && !c.given["advertise-client-urls"] {
		faults = append(faults, errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly"))
	}
	for _, urls := range []struct {
		flag string
		list types.URLs
	}{
		{"listen-client-urls", c.listenClientURLs}, {"listen-client-http-urls", c.listenClientHTTPURLs},
		{"listen-metrics-urls", c.listenMetricsURLs}, {"listen-peer-urls", c.listenPeerURLs},
	} {
		for _, u := range urls.list {
			faults = append(faults, checkListenURL(urls.flag, u))
		}
	}
	for _, u := range c.listenClientHTTPURLs {
		twice := slices.ContainsFunc(c.listenClientURLs, func(other url.URL) bool { return other.Host+other.Path == u.Host+u.Path })
		faults = append(faults, faultIf(twice, "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url %s", u.String()))
	}
	for _, u := range c.listenPeerURLs {
		faults = append(faults, faultIf(isSocket(u), "--listen-peer-urls: %s is not served (%s)", u.Scheme, u.String()))
	}
	faults = append(faults,
		checkAdvertised(`--initial-advertise-peer-urls %q must be "host:port" (%w)`, c.initialAdvertisePeerURLs),
		checkAdvertised(`--advertise-client-urls %q must be in the format "host:port", "unix:/path/to/socket" or "unixs:/path/to/socket" (%w)`, c.advertiseClientURLs))
	return errors.Join(faults...)
}

// checkAdvertised refuses URLs that nobody could connect to.
func checkAdvertised(format string, urls types.URLs) error {
	for _, u := range urls {
		if !isSocket(u) && u.Hostname() == "" {
			return fmt.Errorf(format, urls.String(), fmt.Errorf("unexpected empty host (%s)", u.String()))
		}
	}
	return nil
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
	if isSocket(u) {
		return nil
	}
	host := u.Hostname()
	return faultIf(host != "localhost" && !isIP(host), "--%s: expected IP in URL for binding (%s)", flagName, u.String())
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
