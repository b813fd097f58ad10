// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry knows what kube-apiserver's keys and requests mean: which resource, namespace and
// object a key is of, which of its request shapes a request has, and how many objects and bytes each
// resource keeps in the store.
//
// # Place on the request's path
//
// Apply tells an Accountant of each write, which parses the key; Prometheus scrapes the Accountant.
// etcdapi may ask Classify what a request is before it is ordered. Nothing here changes what a
// request does: a store that holds no Kubernetes keys works the same (design.md, invariant 2).
//
// # Where a key's resource is found
//
// kube-apiserver's --etcd-prefix ("/registry" by default) may be any path, so it is found and not
// assumed. Parse walks over a key's segments from the left and takes the first place where the rest
// reads as one of
//
//   - the storage prefix of a built-in resource (table.go) and the number of segments of its scope:
//     pods/<namespace>/<name>, minions/<name>, services/specs/<namespace>/<name>;
//   - an API group, told by its dot, a plural without one, and an object:
//     stable.example.com/crontabs/<namespace>/<name>, apiregistration.k8s.io/apiservices/<name>.
//
// The two can meet in a prefix with a dot. A first segment with a dot that is followed by a built-in
// resource is a prefix (OpenShift's is "/kubernetes.io"), and so is a segment with a dot whose next but
// one begins a built-in resource. A prefix of several segments of which the last has a dot cannot be
// told from a custom resource whose plural is a built-in's, and is read as that. A resource that is
// in no table, of a newer Kubernetes, is recognised below the default prefix only, without its group.
//
// # What holds
//
//   - Parse and Classify are pure and allocate nothing; what they return are views of what they got.
//   - An Accountant keeps at most its limit of resources; the rest is counted together as "other"
//     (invariant 7).
//
// # Imports
//
// etcd's generated messages and the Prometheus client. Not k8s.io: what decodes objects is a package
// of its own, so that the server stays small.
package registry
