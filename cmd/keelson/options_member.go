// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

	"keelson.io/keelson/etcdapi/compactor"
)

// Defaults of etcd that are needed in more than one place.
const (
	defaultName       = "default"
	defaultPeerURLs   = "http://localhost:2380"
	defaultClientURLs = "http://localhost:2379"
)

func (c *config) memberOptions() []option {
	return append([]option{
		{name: "name", value: value(&c.name, defaultName), help: "Name of this member."},
		{name: "data-dir", value: value(&c.dataDir, ""), shown: "${name}.keelson", help: "Folder of this member's data."},
		{name: "wal-dir", value: value(&c.walDir, ""), help: "Folder of the write-ahead log; empty: inside the data folder."},
		{name: "snapshot-count", value: value(&c.snapshotCount, 10000), help: "Applied entries after which the log is cut."},
		{name: "heartbeat-interval", value: value(&c.heartbeatMillis, 100), help: "Time between heartbeats, in milliseconds."},
		{name: "election-timeout", value: value(&c.electionMillis, 1000), help: "Time without a leader before an election, in milliseconds."},
		{name: "initial-election-tick-advance", value: unused(true), ignored: true, help: "Shorten the wait of a member that starts for the first election."},
		{name: "max-snapshots", value: value(&c.maxSnapshots, 5), help: "Snapshot files kept; 0: all. Deprecated by etcd."},
		{name: "max-wals", value: value(&c.maxWALs, 5), help: "Segments of the write-ahead log kept, if they are not needed longer; 0: all."},
		{name: "memory-mlock", value: unused(false), ignored: true, help: "Keep bbolt's pages in memory."},
		{name: "quota-backend-bytes", value: value(&c.quotaBackendBytes, 0), help: "Bytes of the store from which on writes are refused; 0: 2 GiB, negative: none."},
		{name: "backend-bbolt-freelist-type", value: unused(""), ignored: true, help: "bbolt's list of free pages."},
		{name: "backend-batch-interval", value: unused(time.Duration(0)), ignored: true, help: "Time after which bbolt's transaction is committed."},
		{name: "backend-batch-limit", value: unused(0), ignored: true, help: "Operations after which bbolt's transaction is committed."},
		{name: "max-range-bytes-in-flight", value: value(&c.maxRangeBytesInFlight, 1<<30), help: "Bytes of answers to lists that clients have not taken; more wait. keelson's own."},
		{name: "quota-as-etcd", value: value(&c.quotaAsEtcd, false), help: "At the quota refuse renewals of node Leases and the API servers' record of compaction too, and keep the NOSPACE alarm until 'etcdctl alarm disarm'."},
		{name: "max-txn-ops", value: value(&c.maxTxnOps, 128), help: "Operations in one transaction."},
		{name: "max-request-bytes", value: value(&c.maxRequestBytes, 1536<<10), help: "Bytes of one request."},
		{name: "max-concurrent-streams", value: value(&c.maxConcurrentStreams, math.MaxUint32), help: "Requests at a time on one connection."},
		{name: "grpc-keepalive-min-time", value: value(&c.keepAliveMinTime, 5*time.Second), help: "Shortest interval at which clients may ping."},
		{name: "grpc-keepalive-interval", value: value(&c.keepAliveInterval, 2*time.Hour), help: "Idle time after which a client is pinged."},
		{name: "grpc-keepalive-timeout", value: value(&c.keepAliveTimeout, 20*time.Second), help: "Time in which a pinged client must answer."},
		{name: "enable-grpc-gateway", value: value(&c.grpcGateway, true), help: "Serve the JSON gateway, /v3/."},
		{name: "raft-read-timeout", key: noKey, value: value(&c.raftReadTimeout, rafthttp.DefaultConnReadTimeout), help: "Time in which something must be read from a connection of members; at least the default."},
		{name: "raft-write-timeout", key: noKey, value: value(&c.raftWriteTimeout, rafthttp.DefaultConnWriteTimeout), help: "Time in which something must be written to a connection of members; at least the default."},
	}, c.listenOptions()...)
}

// listenOptions are where this member listens and who may come.
func (c *config) listenOptions() []option {
	return []option{
		{name: "listen-peer-urls", value: urlList(&c.listenPeerURLs, defaultPeerURLs), help: "URLs to serve other members on, http or https, separated by commas."},
		{name: "listen-client-urls", value: urlList(&c.listenClientURLs, defaultClientURLs), help: "URLs to serve clients on, http, https, unix or unixs, separated by commas."},
		{name: "listen-client-http-urls", value: urlList(&c.listenClientHTTPURLs, ""), help: "URLs to serve HTTP on; --listen-client-urls serve gRPC only then."},
		{name: "listen-metrics-urls", value: urlList(&c.listenMetricsURLs, ""), help: "More URLs that serve /metrics and /health only."},
		{name: "socket-reuse-port", key: "socket-options.reuse-port", value: value(&c.sockets.ReusePort, false), help: "Listen with SO_REUSEPORT."},
		{name: "socket-reuse-address", key: "socket-options.reuse-address", value: value(&c.sockets.ReuseAddress, false), help: "Listen with SO_REUSEADDR."},
		{name: "cors", value: originList(&c.cors, "*"), help: "Origins whose pages may send requests; empty or *: all."},
		{name: "host-whitelist", value: nameList(&c.hostWhitelist, "*"), help: "Host names that HTTP requests without TLS may be sent to; empty or *: all."},
	}
}

func (c *config) clusterOptions() []option {
	return append([]option{
		{name: "initial-advertise-peer-urls", value: urlList(&c.initialAdvertisePeerURLs, defaultPeerURLs), help: "URLs that other members are told."},
		{name: "advertise-client-urls", value: urlList(&c.advertiseClientURLs, defaultClientURLs), help: "URLs that clients are told."},
		{name: "initial-cluster", value: value(&c.initialCluster, defaultName+"="+defaultPeerURLs), shown: "${name}=${initial-advertise-peer-urls}", help: "Members of the cluster, as name=url,name=url. Counts while there is no data."},
		{name: "initial-cluster-state", value: oneOf(&c.initialClusterState, clusterNew, clusterExisting), help: "'new' to found the cluster, 'existing' to join it after 'etcdctl member add'."},
		{name: "initial-cluster-token", value: value(&c.initialClusterToken, "etcd-cluster"), help: "Token that tells clusters apart."},
		{name: "discovery-srv", value: value(&c.discoverySRV, ""), help: "DNS domain whose SRV records name the members."},
		{name: "discovery-srv-name", value: value(&c.discoverySRVName, ""), help: "Suffix of the SRV records' service name."},
		{name: "strict-reconfig-check", value: value(&c.strictCheck, true), help: "Refuse changes of membership after which a quorum might be missing."},
		{name: "pre-vote", value: value(&c.preVote, true), help: "Ask for votes before an election is forced."},
		{name: "max-learners", value: value(&c.maxLearners, membership.DefaultMaxLearners), help: "Learners at a time. Must be the same on all members."},
		{name: "auto-compaction-mode", value: value(&c.autoCompactionMode, compactor.Periodic), help: "'periodic' or 'revision'."},
		{name: "auto-compaction-retention", value: value(&c.autoCompactionRetention, "0"), help: "What is kept: a time, in hours without a unit, or revisions; 0: all."},
		{name: "v2-deprecation", value: unused(""), ignored: true, help: "Phase of the v2 store's removal."},
	}, c.discoveryOptions()...)
}
