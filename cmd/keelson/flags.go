// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
)

// notServed are etcd's flags whose work is not done yet. Giving one is an
// error that names it: a flag that is silently ignored would be a setting that
// somebody relies on and does not have.
var notServed = []string{
	"auth-token", "auth-token-ttl", "auto-compaction-mode", "auto-compaction-retention", "auto-tls", "bcrypt-cost",
	"cert-file", "cipher-suites", "client-cert-allowed-hostname", "client-cert-auth", "client-cert-file", "client-crl-file",
	"client-key-file", "config-file", "cors", "discovery", "discovery-cacert", "discovery-cert",
	"discovery-dial-timeout", "discovery-endpoints", "discovery-fallback", "discovery-insecure-skip-tls-verify",
	"discovery-insecure-transport", "discovery-keepalive-time", "discovery-keepalive-timeout", "discovery-key",
	"discovery-password", "discovery-proxy", "discovery-request-timeout",
	"discovery-token", "discovery-user", "distributed-tracing-address", "distributed-tracing-instance-id",
	"distributed-tracing-sampling-rate", "distributed-tracing-service-name", "downgrade-check-time",
	"enable-distributed-tracing", "enable-grpc-gateway", "enable-log-rotation", "feature-gates",
	"host-whitelist", "initial-election-tick-advance", "key-file", "listen-client-http-urls", "log-rotation-config-json",
	"logger", "peer-auto-tls", "peer-cert-allowed-cn", "peer-cert-allowed-hostname",
	"peer-client-cert-file", "peer-client-key-file", "peer-crl-file",
	"peer-skip-client-san-verification", "raft-read-timeout",
	"raft-write-timeout", "self-signed-cert-validity", "socket-reuse-address", "socket-reuse-port",
	"tls-max-version", "tls-min-version", "trusted-ca-file",
}

// withoutMeaning are etcd's flags that tune bbolt or things of the past. They
// are accepted with a warning.
var withoutMeaning = []string{
	"backend-batch-interval", "backend-batch-limit", "backend-bbolt-freelist-type", "bootstrap-defrag-threshold-megabytes",
	"compaction-sleep-interval", "memory-mlock", "v2-deprecation",
}

// registerOthers makes the flag set know etcd's other flags.
func registerOthers(fs *flag.FlagSet, c *config) {
	for _, name := range notServed {
		fs.Var(refused(name), name, "")
	}
	for _, name := range withoutMeaning {
		fs.Var(&ignored{name: name, config: c}, name, "")
	}
}

// refused is the value of a flag that can't be given.
type refused string

func (refused) String() string { return "" }

func (r refused) Set(string) error {
	return fmt.Errorf("etcd's flag --%s is not served by keelson yet", string(r))
}

// IsBoolFlag has Set called whether a value follows or not, so that the answer
// is always that the flag is not served.
func (refused) IsBoolFlag() bool { return true }

// ignored is the value of a flag that means nothing here.
type ignored struct {
	name   string
	config *config
}

func (*ignored) String() string { return "" }

func (i *ignored) Set(string) error {
	i.config.ignored = append(i.config.ignored, i.name)
	return nil
}

// IsBoolFlag lets --memory-mlock stand without a value, as in etcd.
func (i *ignored) IsBoolFlag() bool { return i.name == "memory-mlock" }

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func printHelp(out io.Writer) {
	fmt.Fprint(out, helpText)
}

const helpText = `keelson is an etcd v3 server with a SQLite store, for Kubernetes control planes.

Usage:

  keelson [flags]
    Serve clients on http://localhost:2379 from ./default.keelson.

  keelson --version
    Show the versions.

Flags are etcd's, with its defaults, and may start with one dash or two. Each
can also be given as a variable: --data-dir as ETCD_DATA_DIR.

Member:
  --name 'default'
    Name of this member.
  --data-dir '${name}.keelson'
    Folder of this member's data.
  --wal-dir ''
    Folder of the write-ahead log; empty: inside the data folder.
  --snapshot-count '10000'
    Applied entries after which the log is cut.
  --snapshot-catchup-entries '5000'
    Entries kept for members that lag behind.
  --heartbeat-interval '100'
    Time between heartbeats, in milliseconds.
  --election-timeout '1000'
    Time without a leader before an election, in milliseconds.
  --listen-client-urls 'http://localhost:2379'
    URLs to serve clients on, http or unix, separated by commas.
  --listen-metrics-urls ''
    More URLs that serve /metrics and /health only.
  --listen-peer-urls 'http://localhost:2380'
    URLs to serve other members on, http or https, separated by commas.
  --max-snapshots '5'
    Snapshot files kept.
  --max-wals '5'
    Segments of the write-ahead log kept, if they are not needed longer.
  --quota-backend-bytes '0'
    Bytes of the store from which on writes are refused; 0: 2 GiB, negative: none.
  --quota-as-etcd 'false'
    At the quota refuse renewals of node Leases and the API servers' record of
    compaction too, and keep the NOSPACE alarm until 'etcdctl alarm disarm'.
  --max-txn-ops '128'
    Operations in one transaction.
  --max-request-bytes '1572864'
    Bytes of one request.
  --max-concurrent-streams '4294967295'
    Requests at a time on one connection.
  --grpc-keepalive-min-time '5s', --grpc-keepalive-interval '2h', --grpc-keepalive-timeout '20s'
    Pings: the shortest interval clients may use, and the server's own.
  --watch-progress-notify-interval '10m'
    Time between progress notifications of watches that want them.
  --compaction-batch-limit '1000'
    Keys that compaction visits at a time.

Clustering:
  --advertise-client-urls 'http://localhost:2379'
    URLs that clients are told.
  --initial-advertise-peer-urls 'http://localhost:2380'
    URLs that other members are told.
  --initial-cluster '${name}=${initial-advertise-peer-urls}'
    Members of the cluster, as name=url,name=url. Counts while there is no data.
  --initial-cluster-state 'new'
    'new' to found the cluster, 'existing' to join it after 'etcdctl member add'.
  --initial-cluster-token 'etcd-cluster'
    Token that tells clusters apart.
  --discovery-srv '', --discovery-srv-name ''
    DNS domain whose SRV records name the members, and the suffix of the service's name.
  --strict-reconfig-check 'true'
    Refuse changes of membership after which a quorum might be missing.
  --max-learners '1'
    Learners at a time. Must be the same on all members.
  --pre-vote 'true'
    Ask for votes before an election is forced.
  --compact-hash-check-time '1m'
    Time between comparisons of what the members keep after a compaction.
  --corrupt-check-time '0s'
    Time between comparisons of all that the members keep; 0: never.

Security of peers:
  --peer-cert-file '', --peer-key-file ''
    Certificate and key of this member, for other members.
  --peer-trusted-ca-file ''
    Certificates of the authority that other members' are checked with.
  --peer-client-cert-auth 'false'
    Refuse members without a certificate of that authority.

Logging and observing:
  --log-level 'info'
    debug, info, warn, error, panic or fatal.
  --log-format 'json'
    json or console.
  --log-outputs 'default'
    default and stderr, stdout, or a file.
  --metrics 'basic'
    basic, or extensive for histograms by method.
  --enable-pprof 'false'
    Serve /debug/pprof.
  --warning-apply-duration '100ms', --warning-unary-request-duration '300ms'
    Times from which applying and requests are logged as slow.

Unsafe:
  --force-new-cluster 'false'
    Go on alone with the data of a member whose cluster has lost its quorum for
    good. All other members are removed.
  --unsafe-no-fsync 'false'
    Do not sync the log: a crash of the machine loses acknowledged writes.

etcd's other flags are refused by name until keelson serves them; those that
tune bbolt are accepted with a warning.
`
