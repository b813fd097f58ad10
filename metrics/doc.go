// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics defines what a keelson server exports to Prometheus, so that etcd's dashboards and
// alerts work unchanged: etcd's names, types, labels and buckets wherever the thing exists here, and
// names beginning with keelson_ where etcd has none.
//
// # Place on the request's path
//
// Beside it, below everything: every layer may import it, it imports none of them. There is one
// constructor a layer, which takes the Registerer to use (nil: the metrics work and nobody sees
// them) and, for figures that the layer keeps anyway, a function that returns them all at one moment.
// That function is called once a scrape, by any goroutine, and must be quick. The other metrics are
// fields, told by whoever sees the event, from any goroutine.
//
// Metrics that etcd's packages register on the default registry by being linked are not defined
// again: etcd_disk_wal_* (storage/wal), etcd_snap_* (etcdserver/api/snap), etcd_cluster_version,
// etcd_network_known_peers and etcd_server_is_learner (etcdserver/api/membership), etcd_network_peer_*
// (etcdserver/api/rafthttp). A server therefore registers on the default registry; tests use their own.
//
// # What holds
//
//   - A name that etcd has, has etcd's type, labels and buckets here: a test compares them with what
//     an etcd server exports.
//   - Label values come from bounded sets; what a client sends never is one as it is (design.md,
//     invariant 7).
//   - Registering a metric twice is a fault of the program, and panics.
//
// # Imports
//
// The Prometheus client and procfs, of the same project.
package metrics
